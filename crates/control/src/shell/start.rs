//! From what was prepared to a running shell: data plane, checks, journal writer and notifier started, every inbox open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use evenkeel_balance::roster::At;
use evenkeel_guard::recording::Recorder;
use evenkeel_guard::{Guard, Settings};
use evenkeel_journal::Writer;
use evenkeel_model::config::Config;
use evenkeel_proxy::check::{CheckOptions, CheckResult, Checker};
use evenkeel_proxy::tls::KeyRing;
use evenkeel_proxy::{Proxy, ProxyOptions};
use tokio::sync::mpsc;

use super::{INPUTS_MAX, Inboxes, Shell, TALLIES_MAX, name_epochs, notifier};
use crate::boot::{Options, Prepared, StartError};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::facts::Seen;
use crate::fleet::Fleet;
use crate::handle::{COMMANDS_MAX, Handle, Published};
use crate::recordings::Recordings;
use crate::series::Series;
use crate::service::Service;
use crate::token;

/// The sending ends that belong to the loop's inboxes.
struct Outboxes {
    inputs: mpsc::Sender<super::Input>,
    commands: mpsc::Sender<crate::handle::Command>,
    tally: mpsc::Sender<evenkeel_model::tally::Tally>,
    checks: mpsc::Sender<CheckResult>,
    members: mpsc::Sender<crate::members::Answer>,
    events: mpsc::Sender<evenkeel_proxy::Event>,
}

fn boxes() -> (Outboxes, Inboxes) {
    let (inputs, inputs_in) = mpsc::channel(INPUTS_MAX);
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (tally, tallies_in) = mpsc::channel(TALLIES_MAX);
    let (checks, checks_in) = mpsc::channel(INPUTS_MAX);
    let (members, members_in) = mpsc::channel(INPUTS_MAX);
    let (events, proxy_in) = mpsc::channel(INPUTS_MAX);
    let inboxes = Inboxes {
        inputs: inputs_in,
        commands: commands_in,
        tallies: tallies_in,
        checks: checks_in,
        members: members_in,
        proxy: proxy_in,
    };
    (
        Outboxes {
            inputs,
            commands,
            tally,
            checks,
            members,
            events,
        },
        inboxes,
    )
}

fn start_checks(
    options: &Options,
    clock: &Clock,
    (results, ring): (mpsc::Sender<CheckResult>, KeyRing),
    config: &Arc<Config>,
) -> Result<Checker, StartError> {
    let options = CheckOptions {
        seed: options.seed,
        origin: clock.origin(),
        results,
        ring,
    };
    Checker::start(options, Arc::clone(config)).map_err(StartError::Thread)
}

impl Shell {
    #[expect(
        clippy::too_many_lines,
        reason = "one field after the other, no branch"
    )]
    pub(super) fn start(prepared: Prepared) -> Result<(Self, Handle, Inboxes), StartError> {
        let (outboxes, inboxes) = boxes();
        let Prepared {
            options,
            clock,
            journal,
            reader,
            mut boot,
            way_back,
            source,
            disk,
            bound,
            tokens,
            admin,
            ..
        } = prepared;
        let admin = admin.local_addr().map_err(StartError::Thread)?;
        let config = Arc::clone(&boot.running.config);
        let revision = boot.running.record.id;
        let sticky = token::sticky_key(&options.data)?;
        let mut fleet = Fleet::new(sticky, disk.ring());
        let at = At {
            mono: clock.mono(),
            wall: crate::clock::wall(),
        };
        for drain in &boot.drains {
            let (whom, left) = ((&drain.pool, &drain.backend), drain.until.since(at.wall));
            // One that is not over yet; the guard tells of the others.
            if !left.is_zero() {
                let until = at.mono.plus(left.min(evenkeel_guard::DRAIN_MAX));
                let none_yet = fleet.drain(whom, until, &drain.reason);
                drop(none_yet);
            }
        }
        for rollout in &boot.rollouts {
            fleet.follow(rollout.clone());
        }
        let (snapshot, epochs) = fleet
            .snapshot(revision, &config, true, at)
            .map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        let mut counters = Counters::default();
        name_epochs(&mut counters, &epochs);
        let proxy_options = ProxyOptions {
            workers: None,
            seed: options.seed,
            origin: clock.origin(),
            tally: outboxes.tally,
            events: outboxes.events,
            access_log: config.access_log.clone(),
            memory: evenkeel_proxy::resident,
        };
        let proxy = Proxy::start(bound, proxy_options, snapshot)?;
        boot.workers = proxy.workers();
        boot.epochs = epochs;
        let writer = Writer::start(Box::new(journal)).map_err(StartError::Thread)?;
        let notifier = notifier(&config, admin, &outboxes.inputs);
        let results = (outboxes.checks, disk.ring());
        let checks = start_checks(&options, &clock, results, &config)?;
        let mut members = crate::members::Finder::new(outboxes.members);
        members.update(&config);
        let started_at = crate::clock::wall();
        let first = Published::starting(Arc::clone(&config), proxy.addresses(), started_at);
        let published = Arc::new(ArcSwap::from_pointee(first));
        let recordings = Recordings::start(&options.data).map_err(StartError::Thread)?;
        let handle = Handle {
            commands: outboxes.commands,
            published: Arc::clone(&published),
            reader: Arc::new(Mutex::new(reader)),
            tokens: Arc::new(tokens),
            data: Arc::new(options.data),
            disk: Arc::clone(&disk),
        };
        let seen = Seen::new(way_back, &config);
        let shell = Self {
            clock,
            guard: Guard::new(Settings {
                drill: options.drill,
            }),
            recorder: Recorder::default(),
            recordings,
            fleet,
            disk,
            proxy,
            checks,
            members,
            writer,
            notifier,
            admin,
            inputs: outboxes.inputs,
            published,
            config,
            revision,
            boot: Some(Box::new(boot)),
            source,
            adopt: options.adopt,
            drain: options.drain,
            counters,
            series: Series::default(),
            seen,
            waiting: BTreeMap::new(),
            next_request: 1,
            journal_ok: true,
            probing: false,
            ticks: 0,
            service: Service::default(),
            drift_known: false,
            started_at,
        };
        Ok((shell, handle, inboxes))
    }
}
