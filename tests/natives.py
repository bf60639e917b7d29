"""Extension modules in C that tests compile: what packages with native threads and OpenMP do."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from support import Project

_THREAD = r"""
#define _GNU_SOURCE
#include <Python.h>
#include <pthread.h>

static int running, quits, named;
static pthread_t thread;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;

static void *work(void *arg) {
    pthread_setname_np(pthread_self(), THREAD);
    pthread_mutex_lock(&mutex);
    named = 1;
    pthread_cond_broadcast(&change);
    while (running) pthread_cond_wait(&change, &mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}
static void prepare(void) {
    if (quits && running) {
        pthread_mutex_lock(&mutex);
        running = 0;
        pthread_cond_broadcast(&change);
        pthread_mutex_unlock(&mutex);
        pthread_join(thread, NULL);
    }
}
static PyObject *start(PyObject *self, PyObject *arg) {
    quits = PyObject_IsTrue(arg);
    running = 1;
    if (pthread_create(&thread, NULL, work, NULL)) return PyErr_SetFromErrno(PyExc_OSError);
    pthread_mutex_lock(&mutex);
    while (!named) pthread_cond_wait(&change, &mutex);
    pthread_mutex_unlock(&mutex);
    pthread_atfork(prepare, NULL, NULL);
    Py_RETURN_NONE;
}
static PyMethodDef methods[] = {{"start", start, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, NULL, -1, methods};
PyMODINIT_FUNC INIT(void) { return PyModule_Create(&module); }
"""

_OPENMP = r"""
#include <Python.h>
#include <omp.h>

static PyObject *count(PyObject *self, PyObject *arg) {
    int threads = 0;
    #pragma omp parallel num_threads(2) reduction(+:threads)
    threads += 1;
    return PyLong_FromLong(threads);
}
static PyMethodDef methods[] = {{"count", count, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, NULL, -1, methods};
PyMODINIT_FUNC INIT(void) { return PyModule_Create(&module); }
"""


def thread_module(project: Project, package: str, module: str = "native", thread: str = "busy_worker") -> Path:
    """Compiles a module: `start(True)` starts a thread that its fork handler ends, `start(False)` one that stays."""
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    return _compile(project, _THREAD, package, module, "" if module.endswith(".so") else suffix, thread)


def openmp_module(project: Project, package: str) -> Path:
    """Compiles `package.native`, whose `count(0)` counts the threads of a parallel region."""
    return _compile(project, _OPENMP, package, "native", str(sysconfig.get_config_var("EXT_SUFFIX")), "", "-fopenmp")


def _compile(project: Project, text: str, package: str, module: str, suffix: str, thread: str, *options: str) -> Path:
    source = project.dependency(f"{package}/{module}.c", text)
    library = source.with_name(module + suffix)
    name = module.partition(".")[0]
    macros = [f'-DNAME="{name}"', f"-DINIT=PyInit_{name}", f'-DTHREAD="{thread}"']
    flags = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-lpthread"]
    include = f"-I{sysconfig.get_paths()['include']}"
    command = ["cc", "-shared", "-fPIC", include, *macros, *options, str(source), "-o", str(library), *flags]
    subprocess.run(command, check=True)
    return library
