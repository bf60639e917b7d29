//! From a call to a child of a template that is true. Does not build templates.
//!
//! Invariant: no call is sent to a child whose template was not found true after the call came, unless the template was
//! started after the call came: then it has read everything later than a cold start would have.
//!
//! The race: the check of the disk runs while the template forks. The child waits for its call all the while, and is
//! stopped without it when the check fails.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{Chain, Found, Kind};
use super::refresh::Target;
use super::{host, Caller, Environment};
use crate::error::Error;
use crate::stamp::describe;
use crate::supervisor::child::{Cause, Ticket, Until};
use crate::supervisor::dispatcher::Exec;
use crate::supervisor::template::{Launch, TemplateId};

/// A template that dies again and again right after it became ready is not started forever.
const REVIVALS: usize = 2;
const NOT_READY: &str = "the template is not ready yet";

/// A call: what to run, and the state that it shall find.
#[derive(Debug)]
pub struct Call {
    /// What to run; its template is chosen here.
    pub exec: Exec,
    /// How to start a template for the host as it is.
    pub host: Launch,
    /// How to start one for this call, when its variables or its directory are not the host's.
    pub own: Option<Launch>,
}

/// How a call went that nothing was built for.
#[derive(Debug)]
pub enum Warm {
    /// In a child.
    Runs(Arc<Ticket>),
    /// Its variables, directory or path are not those that a template was started with, which its imports have read.
    Differs(String),
    /// What the template has read is not as it was.
    Stale(String),
    /// There is none, or it died.
    Missing(String),
}

/// Templates for a call.
struct Choice {
    /// The top of these is forked.
    chain: Chain,
    /// Those that serve and that these are, or are the lowest of.
    whole: Chain,
}

impl Choice {
    fn all(whole: Chain) -> Self {
        let chain = whole.clone();
        Self { chain, whole }
    }
}

/// How one try went.
enum Try {
    Runs(Arc<Ticket>),
    /// The template was not true any more.
    Stale(Found),
    /// Another thread has replaced it.
    Gone,
    /// It died, or was dead; how.
    Dead(String),
}

impl Environment {
    /// Runs something in a child; starts a template first when the last one has died or is not true any more. Waits
    /// for the fork.
    ///
    /// # Errors
    /// [`Error::Fork`], [`Error::Closed`], [`Error::System`], or what starting a template may raise.
    pub fn exec(&self, mut call: Call, caller: &dyn Caller) -> Result<Arc<Ticket>, Error> {
        self.check_owner()?;
        self.note_call();
        let mut deaths = 0;
        // Templates that were built for this very call need no check.
        let mut fresh: BTreeSet<TemplateId> = BTreeSet::new();
        loop {
            let Choice { chain, whole } = self.choose(&call, &mut fresh, caller)?;
            call.exec.template = chain.id();
            match self.fork(&call.exec, &chain, fresh.contains(&chain.id()), caller)? {
                Try::Runs(ticket) => return Ok(ticket),
                Try::Stale(found) => {
                    fresh.extend(self.mend(&whole, &call, &found, caller)?);
                }
                Try::Gone => {}
                Try::Dead(how) => {
                    deaths += 1;
                    if deaths > REVIVALS {
                        return Err(Error::Fork {
                            reason: format!("the template {how}, {deaths} times in a row"),
                        });
                    }
                    let reason = format!("the template {how}");
                    let found = whole.changes(host(&call.host));
                    fresh.extend(self.rebuild(&whole, &call, reason, &found, caller)?);
                }
            }
        }
    }

    /// Runs something in a child if there is a template for it now; builds none. `call.own` counts for nothing: `call.host`
    /// says what the call shall find. Waits for the fork.
    ///
    /// # Errors
    /// [`Error::Fork`], [`Error::Closed`], [`Error::System`], [`Error::Interrupted`]; nothing runs then.
    pub fn exec_if_warm(&self, mut call: Call, caller: &dyn Caller) -> Result<Warm, Error> {
        self.check_owner()?;
        self.note_call();
        loop {
            let Some(main) = self.serving().main.clone() else {
                return Ok(Warm::Missing(NOT_READY.to_owned()));
            };
            let own = main.below(Kind::Own);
            let differs = main.context_changes(host(&call.host));
            let chain = match differs.lowest() {
                None => main.clone(),
                // Where only the project's own modules have read it, the call imports these itself.
                Some(lowest) => match main.lowest(lowest).filter(|_| lowest >= own) {
                    Some(chain) => chain,
                    None => return Ok(Warm::Differs(describe(&differs.all()))),
                },
            };
            call.exec.template = chain.id();
            match self.fork(&call.exec, &chain, false, caller)? {
                Try::Runs(ticket) => return Ok(Warm::Runs(ticket)),
                Try::Stale(found) if found.lowest().is_some_and(|lowest| lowest >= own) => {
                    self.mend(&main, &call, &found, caller)?;
                }
                Try::Stale(found) => return Ok(Warm::Stale(describe(&found.all()))),
                Try::Gone => {}
                Try::Dead(how) => return Ok(Warm::Missing(format!("the template {how}"))),
            }
        }
    }

    /// The templates whose host was as this call's is; built if need be.
    fn choose(
        &self,
        call: &Call,
        fresh: &mut BTreeSet<TemplateId>,
        caller: &dyn Caller,
    ) -> Result<Choice, Error> {
        loop {
            let main = self.serving().main.clone().ok_or(Error::NoTemplate)?;
            let differs = main.context_changes(host(&call.host));
            if !differs.is_empty() && !fresh.contains(&main.id()) {
                let found = differs.and(main.disk_changes());
                fresh.extend(self.mend(&main, call, &found, caller)?);
                continue;
            }
            let Some(own) = &call.own else {
                return Ok(Choice::all(main));
            };
            let differs = main.context_changes(host(own));
            let Some(lowest) = differs.lowest() else {
                return Ok(Choice::all(main));
            };
            // Where only the project's own modules have read it, the call imports these itself.
            if let Some(chain) = main
                .lowest(lowest)
                .filter(|_| lowest >= main.below(Kind::Own))
            {
                return Ok(Choice { chain, whole: main });
            }
            return Ok(Choice::all(match self.aside(own, fresh) {
                Some(aside) => aside,
                None => self.build_aside(own, &differs.all(), fresh, caller)?,
            }));
        }
    }

    /// Asks for a child, looks at the disk meanwhile, and lets the child have its call when all is as it was.
    fn fork(
        &self,
        exec: &Exec,
        built: &Chain,
        is_fresh: bool,
        caller: &dyn Caller,
    ) -> Result<Try, Error> {
        let ticket = match self.dispatcher.exec(exec.clone()) {
            Ok(ticket) => ticket,
            Err(Error::NoTemplate) if !self.serves(built.id()) => return Ok(Try::Gone),
            Err(Error::NoTemplate) => return Ok(Try::Dead("ended".to_owned())),
            Err(error) => return Err(error),
        };
        let changes = if is_fresh {
            Found::default()
        } else {
            built.disk_changes()
        };
        if !changes.is_empty() {
            self.dispatcher.stop(ticket.id, Duration::ZERO)?;
            return Ok(Try::Stale(changes));
        }
        self.dispatcher.release(ticket.id)?;
        let forked = ticket.wait(Until::Pid, None, &mut || caller.attend());
        if let Err(error) = forked {
            // Nobody will know of it: it must not run.
            self.dispatcher.stop(ticket.id, Duration::ZERO)?;
            return Err(error);
        }
        match (ticket.pid(), ticket.end().map(|end| end.cause)) {
            // Its call was not sent, so another template may have it.
            (None, Some(Cause::TemplateDied(how))) => Ok(Try::Dead(how)),
            (None, Some(Cause::ForkFailed(reason))) => Err(Error::Fork { reason }),
            (None, Some(Cause::Closed)) => Err(Error::Closed),
            (_, _) => Ok(Try::Runs(ticket)),
        }
    }

    /// Whether a template is one of those that calls are given to.
    fn serves(&self, id: TemplateId) -> bool {
        let serving = self.serving();
        serving.main.as_ref().is_some_and(|main| main.has(id)) || serving.asides.has(id)
    }

    /// Makes templates true again; `found` is all that is not as it was, on the disk too. What it built, or has found
    /// true, if it did.
    fn mend(
        &self,
        old: &Chain,
        call: &Call,
        found: &Found,
        caller: &dyn Caller,
    ) -> Result<Option<TemplateId>, Error> {
        let lowest = found.lowest().unwrap_or(old.len());
        if lowest < old.below(Kind::Own) {
            return self.rebuild(old, call, describe(&found.all()), found, caller);
        }
        // Only modules of the project: what lies below goes on at once.
        self.note_edits(old, found);
        self.note_host(&call.host, caller)?;
        let Some(below) = old.lowest(lowest) else {
            return Ok(None);
        };
        self.swap(Some(old.id()), &below)?;
        self.ring();
        Ok(Some(below.id()))
    }

    /// Replaces templates that are of no use any more, unless another thread was quicker. What it built, if it did.
    fn rebuild(
        &self,
        old: &Chain,
        call: &Call,
        reason: String,
        found: &Found,
        caller: &dyn Caller,
    ) -> Result<Option<TemplateId>, Error> {
        let mut state = self.lock(caller)?;
        let (is_main, is_aside) = {
            let mut serving = self.serving();
            let is_main = serving
                .main
                .as_ref()
                .is_some_and(|main| main.id() == old.id());
            (is_main, serving.asides.remove(old.id()))
        };
        if is_aside {
            self.dispatcher.retire(old.id())?;
        }
        if !is_main {
            return Ok(None);
        }
        let imports = state.imports.clone().unwrap_or_default();
        let target = Target {
            imports: &imports,
            launch: &call.host,
            caller,
        };
        let chain = self.refresh(&mut state, target, found, Some(reason), None)?;
        Ok(Some(chain.id()))
    }
}
