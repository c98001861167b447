//! CPU per request beside HAProxy and nginx.

use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 9)]
    pub(crate) rounds: u32,
}

pub(crate) fn run(_options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
