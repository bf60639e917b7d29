//! One piece of work in the background: levels, one after the other, and whether they come to serve. Decides neither
//! when nor what.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::bisect::problem;
use super::build::Also;
use super::chain::{Chain, Kind, Level};
use super::listen::START_LIMIT;
use super::order::{Order, Part};
use super::plan::Step;
use super::preload::{Attempt, Tries};
use super::{Caller, Environment, State};
use crate::error::Error;
use crate::protocol::message::PreloadItem;
use crate::stamp::{os_text, Folders};
use crate::supervisor::template::Launch;

/// What the thread works with in the place of a caller: the host as it was last seen.
pub(super) struct Unseen<'e> {
    pub(super) setup: Vec<u8>,
    pub(super) generation: &'e AtomicU64,
    pub(super) seen: u64,
}

impl Caller for Unseen<'_> {
    fn attend(&self) -> Result<(), Error> {
        if self.generation.load(Ordering::Acquire) == self.seen {
            Ok(())
        } else {
            Err(Error::Interrupted)
        }
    }

    fn setup(&self, _: &[PathBuf]) -> Result<Vec<u8>, Error> {
        Ok(self.setup.clone())
    }

    fn progress(&self, _: &str, _: usize, _: usize) {}

    fn settled(&self) {}
}

impl Environment {
    /// Builds one level after the other, up to the first that can't be had.
    pub(super) fn build_unseen(
        &self,
        below: Option<Chain>,
        steps: &[Step],
        launch: &Launch,
        caller: &Unseen<'_>,
    ) -> Result<Made, Error> {
        let mut chain = below.clone();
        for step in steps {
            let order = Order {
                imports: &step.imports,
                part: Part::All,
                kind: step.kind,
                below: chain.as_ref(),
                launch,
                is_aside: false,
                caller,
            };
            let built = self.build_level(order, step);
            let level = match built {
                Ok(Ok(level)) => level,
                Ok(Err(why)) => {
                    // A part of the import set would be less than what there is.
                    let (whole, rest) = match step.kind {
                        Kind::Imports => (None, chain),
                        Kind::Learned | Kind::Own => (chain, None),
                    };
                    self.give_up(rest.as_ref(), below.as_ref());
                    return Ok(Made {
                        chain: whole,
                        refused: Some((step.clone(), why)),
                    });
                }
                Err(error) => {
                    let died = self.died_learned(chain.as_ref(), below.as_ref());
                    self.give_up(chain.as_ref(), below.as_ref());
                    if let Some(asked) = died {
                        self.quietly().lessons.died(&asked);
                    }
                    return Err(error);
                }
            };
            chain = Some(match chain {
                None => Chain::new(level),
                Some(chain) => chain.with(level),
            });
        }
        Ok(Made {
            chain,
            refused: None,
        })
    }

    /// What the layer of what was learned was asked for, if that one is dead while what it stands on lives.
    fn died_learned(
        &self,
        chain: Option<&Chain>,
        below: Option<&Chain>,
    ) -> Option<Vec<PreloadItem>> {
        let lives = |level: &Level| self.dispatcher.is_serving(level.id).unwrap_or(true);
        let mut levels = chain?.levels();
        let dead = levels.find(|level| !lives(level))?;
        let is_new = !below.is_some_and(|below| below.has(dead.id));
        (is_new && dead.kind == Kind::Learned).then(|| dead.asked.clone())
    }

    /// Ends what was built on `below`, but not that: it may have been retired meanwhile, and have children that run on.
    fn give_up(&self, chain: Option<&Chain>, below: Option<&Chain>) {
        if let Some(chain) = chain {
            // Closed already is what was wanted.
            let _ = self.drop_unless_serving(chain, below);
        }
    }

    fn build_level(
        &self,
        order: Order<'_>,
        step: &Step,
    ) -> Result<Result<Arc<Level>, Refusal>, Error> {
        let wanted: Vec<_> = step.items.iter().cloned().enumerate().collect();
        // Before anything is imported from there.
        let folders = Folders::take(&step.folders);
        let started = self.begin(order)?;
        let id = started.id;
        let tries = Tries {
            trial: true,
            limit: START_LIMIT,
        };
        let attempt = self.attempt(order, &wanted, &started, tries);
        let attempt = match (attempt, order.caller.attend()) {
            // Whoever closes the environment kills what is starting: no import is to blame for that.
            (Ok(Attempt::LeaveOut(_) | Attempt::Ended(_)), Err(error)) => Err(error),
            (attempt, _) => attempt,
        };
        let refusal = match attempt {
            Ok(Attempt::Ready(ready)) => match problem(&ready.census) {
                None if unexpected(step, &ready.loaded).is_empty() => {
                    let also = Also {
                        files: step.files.clone(),
                        folders,
                        left: step.left.clone(),
                    };
                    return Ok(Ok(self.serve(order, started, &wanted, *ready, also)?));
                }
                None => Refusal::Names(unexpected(step, &ready.loaded)),
                Some(reason) => Refusal::Whole(reason),
            },
            Ok(Attempt::LeaveOut(all)) => Refusal::Names(
                all.into_iter()
                    .map(|each| (each.what.name(), each.why.reason))
                    .collect(),
            ),
            Ok(Attempt::Ended(ended)) => Refusal::Whole(ended.reason),
            Err(error) => {
                // It may be gone with the environment.
                let _ = self.dispatcher.abandon(id);
                return Err(error);
            }
        };
        self.dispatcher.abandon(id)?;
        Ok(Err(refusal))
    }

    /// Puts what was built in place, unless something has changed meanwhile.
    pub(super) fn put_unseen(
        &self,
        state: &mut State,
        replaced: &Chain,
        chain: &Chain,
    ) -> Result<bool, Error> {
        let imports = state.imports.clone().unwrap_or_default();
        let is_put = self.swap(Some(replaced.id()), chain)?;
        if is_put {
            if chain.top().kind == Kind::Own {
                self.unused.fetch_add(1, Ordering::Relaxed);
            }
            log::debug!("a template of {} levels serves", chain.len());
            state.told.report = self.report_of(state, chain, &imports);
            self.last_told().clone_from(&state.told);
        } else {
            self.drop_unless_serving(chain, Some(replaced))?;
        }
        Ok(is_put)
    }
}

/// The modules that came from another file than runs have them from: a run may have changed its path before.
fn unexpected(step: &Step, loaded: &BTreeMap<String, Option<String>>) -> Vec<(String, String)> {
    let is_other = |name: &String, file: &Path| {
        let loaded = loaded.get(name).and_then(Option::as_deref);
        loaded.is_some_and(|loaded| Path::new(&os_text(loaded)) != file)
    };
    let all = step.expected.iter();
    all.filter(|(name, file)| is_other(name, file))
        .map(|(name, file)| {
            (
                name.clone(),
                format!("runs have it from {}", file.display()),
            )
        })
        .collect()
}

/// How one piece of work went.
pub(super) struct Made {
    pub(super) chain: Option<Chain>,
    pub(super) refused: Option<(Step, Refusal)>,
}

/// Why a level can't be had.
pub(super) enum Refusal {
    /// For these, each with the reason.
    Names(Vec<(String, String)>),
    /// For one among all; nobody knows which.
    Whole(String),
}

impl Refusal {
    /// For the log.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Whole(reason) => reason.clone(),
            Self::Names(all) => {
                let each = all.iter().map(|(name, reason)| format!("{name}: {reason}"));
                each.collect::<Vec<_>>().join("; ")
            }
        }
    }
}
