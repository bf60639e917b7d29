//! `_core.Engine`: one environment, as Python drives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::caller::Attendant;
use super::daemon::PyStdio;
use super::pump::PyPump;
use super::ticket::{limit, PyTicket};
use super::values::{came, launch_from, BroughtTuple, PolicyDict, ReportTuple, ScanDict};
use super::watch::PyWatch;
use crate::environment::{Call, Caller, Config, Environment, Opened, Report, Warm};
use crate::error::Error;
use crate::scan::Scanner;
use crate::stamp::os_text;
use crate::supervisor::dispatcher::Exec;
use crate::supervisor::output::Mode;
use crate::supervisor::pump::Pump;
use crate::supervisor::template::TemplateId;

/// Each source file that a scan comes to, with those of the project that it imports anywhere.
#[pyfunction]
pub(super) fn import_links(
    py: Python<'_>,
    scan: ScanDict,
) -> PyResult<Vec<(PathBuf, Vec<PathBuf>)>> {
    py.detach(|| {
        let mut scanner = Scanner::new(scan.into());
        scanner.scan().map_err(Error::from)?;
        Ok(scanner.links())
    })
}

/// One package's template and what runs in its children.
#[pyclass(frozen, module = "firehot._core")]
pub(super) struct Engine {
    environment: Opened,
    /// Makes the body of the `setup` message.
    setup: Py<PyAny>,
    pump: Pump,
}

#[pymethods]
impl Engine {
    #[new]
    fn new(
        py: Python<'_>,
        scan: ScanDict,
        policy: PolicyDict,
        setup: Py<PyAny>,
        launch: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let launch = launch_from(launch)?;
        let config = Config {
            scan: scan.into(),
            import_limit: limit(Some(policy.import_timeout))?.unwrap_or(Duration::MAX),
            native_variables: policy.native_variables,
            leave_out: policy.leave_out,
            safe: policy.safe,
            python: policy.python,
            spares: policy.spares,
            cache: policy.cache,
            learn: policy.learn,
            warm_first_party: policy.warm_first_party,
            watch: policy.watch,
            must_poll: policy.must_poll,
        };
        py.detach(|| {
            let attendant = Attendant::new(&setup);
            let opened = Environment::open(config, &launch, &attendant);
            let (environment, pump) = attendant.convert(opened)?;
            Ok(Self {
                environment,
                setup,
                pump,
            })
        })
    }

    fn update(&self, py: Python<'_>, launch: &Bound<'_, PyAny>) -> PyResult<bool> {
        let launch = launch_from(launch)?;
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let updated = self.environment.update(&launch, &attendant);
            attendant.convert(updated)
        })
    }

    #[pyo3(signature = (name, call, mode, timeout, cloudpickle, host, own))]
    #[allow(clippy::too_many_arguments)] // The Python side names each.
    fn exec(
        &self,
        py: Python<'_>,
        name: String,
        call: Vec<u8>,
        mode: &str,
        timeout: Option<f64>,
        cloudpickle: Option<String>,
        host: &Bound<'_, PyAny>,
        own: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyTicket> {
        let mode = match mode {
            "prefix" => Mode::Prefix,
            "inherit" => Mode::Inherit,
            "capture" => Mode::Capture,
            _ => {
                let text = format!("output is 'prefix', 'inherit' or 'capture', not {mode:?}");
                return Err(PyValueError::new_err(text));
            }
        };
        let exec = Exec {
            name,
            call: Arc::new(call),
            mode,
            stdio: None,
            timeout: limit(timeout)?,
            cloudpickle,
            template: TemplateId(0),
        };
        let call = Call {
            exec,
            host: launch_from(host)?,
            own: own.map(launch_from).transpose()?,
        };
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let ticket = self.environment.exec(call, &attendant);
            let dispatcher = self.environment.dispatcher().clone();
            let ticket = attendant.convert(ticket)?;
            Ok(PyTicket::new(ticket, dispatcher))
        })
    }

    /// Runs a program if there is a template for it now: a ticket, or why there is none.
    #[pyo3(signature = (name, call, stdio, host))]
    fn exec_if_warm(
        &self,
        py: Python<'_>,
        name: String,
        call: Vec<u8>,
        stdio: &PyStdio,
        host: &Bound<'_, PyAny>,
    ) -> PyResult<(Option<PyTicket>, &'static str, String)> {
        let exec = Exec {
            name,
            call: Arc::new(call),
            mode: Mode::Given,
            stdio: Some(stdio.share()?),
            timeout: None,
            cloudpickle: None,
            template: TemplateId(0),
        };
        let call = Call {
            exec,
            host: launch_from(host)?,
            own: None,
        };
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let warm = self.environment.exec_if_warm(call, &attendant);
            let dispatcher = self.environment.dispatcher().clone();
            Ok(match attendant.convert(warm)? {
                Warm::Runs(ticket) => {
                    let ticket = PyTicket::new(ticket, dispatcher);
                    (Some(ticket), "runs", String::new())
                }
                Warm::Differs(reason) => (None, "differs", reason),
                Warm::Stale(reason) => (None, "stale", reason),
                Warm::Missing(reason) => (None, "missing", reason),
            })
        })
    }

    fn stop(&self, ticket: &PyTicket, grace: f64) -> PyResult<()> {
        let grace = limit(Some(grace))?.unwrap_or(Duration::MAX);
        Ok(self.environment.stop(&ticket.ticket, grace)?)
    }

    fn differs(&self, py: Python<'_>, launch: &Bound<'_, PyAny>) -> PyResult<String> {
        let launch = launch_from(launch)?;
        Ok(py.detach(|| self.environment.differs(&launch)))
    }

    #[pyo3(signature = (patience = None))]
    fn report(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<ReportTuple> {
        let report = self.reported(py, patience)?;
        let skipped = report
            .skipped
            .into_iter()
            .map(|(name, skipped)| {
                let sites = skipped.sites.into_iter();
                let lines = sites.map(|site| (site.file, site.line, site.text));
                (name, skipped.reason, lines.collect())
            })
            .collect();
        let learned = report.learned;
        let modules = report.modules.into_iter().map(|(name, cost)| {
            let is_learned = learned.contains(&name);
            (name, cost, is_learned)
        });
        Ok((modules.collect(), skipped, report.verdicts))
    }

    #[pyo3(signature = (patience = None))]
    fn imports(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<Vec<BroughtTuple>> {
        let report = self.reported(py, patience)?;
        let told = report.brought.into_iter().map(|each| {
            let sites = each.sites.into_iter();
            let lines = sites.map(|site| (site.file, site.line, site.text));
            let effects = each.effects.iter();
            let effects = effects.map(|effect| {
                let by = effect
                    .importer
                    .clone()
                    .unwrap_or_else(|| effect.name.clone());
                (effect.kind.clone(), effect.detail.clone(), by)
            });
            (
                each.module,
                each.loaded,
                each.memory,
                each.is_learned,
                lines.collect(),
                each.modules.iter().map(came).collect(),
                each.files.iter().map(|text| os_text(text)).collect(),
                effects.collect(),
            )
        });
        Ok(told.collect())
    }

    fn levels(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| Ok(self.environment.levels()?))
    }

    #[pyo3(signature = (patience = None))]
    fn last_rebuild(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<Option<String>> {
        let patience = limit(patience)?;
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let reason = self.environment.last_rebuild(&attendant, patience);
            attendant.convert(reason)
        })
    }

    fn watch(&self, py: Python<'_>) -> PyResult<PyWatch> {
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let watch = self.environment.watch(&attendant);
            attendant.convert(watch).map(PyWatch::from)
        })
    }

    fn pump(&self) -> PyPump {
        PyPump(self.pump.clone())
    }

    fn close(&self, py: Python<'_>, grace: f64) -> PyResult<()> {
        let grace = limit(Some(grace))?.unwrap_or(Duration::MAX);
        py.detach(|| self.environment.close(grace));
        Ok(())
    }

    fn wait_closed(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let limit = limit(Some(timeout))?;
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let done = self.wait_done(limit, &attendant);
            attendant.convert(done)
        })
    }
}

impl Engine {
    fn reported(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<Report> {
        let patience = limit(patience)?;
        py.detach(|| {
            let attendant = Attendant::new(&self.setup);
            let report = self.environment.report(&attendant, patience);
            attendant.convert(report)
        })
    }

    fn wait_done(&self, limit: Option<Duration>, caller: &dyn Caller) -> Result<bool, Error> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            if self.environment.is_done(Duration::from_millis(100)) {
                return Ok(true);
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok(false);
            }
            caller.attend()?;
        }
    }
}
