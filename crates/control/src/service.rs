//! What a service manager is told, where there is one (`NOTIFY_SOCKET`): that traffic is served, that the file is read
//! again, that the end has begun, and in a line how things stand.

use evenkeel_guard::GuardView;
use sd_notify::NotifyState;

/// What was told last of how things stand.
#[derive(Debug, Default)]
pub(crate) struct Service {
    status: String,
}

/// Traffic is served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// No more is accepted; what is in flight ends.
pub(crate) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("requests in flight end"),
    ]);
}

impl Service {
    /// How things stand, where that changed.
    pub(crate) fn show(&mut self, view: &GuardView) {
        let state = view.revision_state.as_str();
        let mut status = format!("{}, {} {state}", view.state.as_str(), view.revision);
        if let Some(incident) = &view.incident {
            status = format!("{status}, {incident}");
        }
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// A reload that was asked for; at its end the manager is told that it is over.
#[derive(Debug)]
pub(crate) struct Reloading(());

impl Reloading {
    pub(crate) fn begin() -> Self {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        tell(&states);
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how things stand");
    }
}
