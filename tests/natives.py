"""Shared libraries in C that tests compile: what packages with native threads and OpenMP do."""

from __future__ import annotations

import subprocess

from support import Project

_THREAD = r"""
#define _GNU_SOURCE
#include <pthread.h>

static int running, quits, returns, named;
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
static int begin(void) {
    running = 1;
    named = 0;
    if (pthread_create(&thread, NULL, work, NULL)) return -1;
    pthread_mutex_lock(&mutex);
    while (!named) pthread_cond_wait(&change, &mutex);
    pthread_mutex_unlock(&mutex);
    return 0;
}
static void begin_again(void) {
    if (returns) begin();
}
int start(int ends_at_forks, int returns_after_forks) {
    quits = ends_at_forks;
    returns = returns_after_forks;
    pthread_atfork(prepare, begin_again, begin_again);
    return begin();
}
"""

_OPENMP = r"""
#include <omp.h>

int count(void) {
    int threads = 0;
    #pragma omp parallel num_threads(2) reduction(+:threads)
    threads += 1;
    return threads;
}
"""
# Without the headers of Python, which not every interpreter comes with.
_LOAD = """
import ctypes, os
native = ctypes.CDLL(os.path.join(os.path.dirname(__file__), {name!r}))
"""


def thread_package(
    project: Project,
    package: str,
    *,
    ends_at_forks: bool,
    returns: bool = False,
    library: str = "native.so",
    thread: str = "busy_worker",
) -> None:
    """A package that starts a native thread when it is imported; one that ends at forks may return after them."""
    _compile(project, _THREAD, package, library, f'-DTHREAD="{thread}"')
    text = f"assert not native.start({int(ends_at_forks)}, {int(returns)})\n"
    project.dependency(f"{package}/__init__.py", _LOAD.format(name=library) + text)


def openmp_package(project: Project, package: str) -> None:
    """A package that has run a parallel region when it is imported; `native.count()` runs another one."""
    _compile(project, _OPENMP, package, "native.so", "-fopenmp")
    project.dependency(f"{package}/__init__.py", _LOAD.format(name="native.so") + "at_import = native.count()\n")


def _compile(project: Project, text: str, package: str, library: str, *options: str) -> None:
    source = project.dependency(f"{package}/native.c", text)
    command = ["cc", "-shared", "-fPIC", *options, str(source), "-o", str(source.with_name(library)), "-lpthread"]
    subprocess.run(command, check=True)
