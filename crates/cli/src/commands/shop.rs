//! `evenkeel shop` and `evenkeel load`: the workload of demo and drills, each its own process.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use evenkeel_shop::{Capacity, ControlAddress, LoadOptions, ShopOptions, StubOptions};

use crate::args::{Load, Shop};
use crate::exit::Exit;
use crate::terminal::Terminal;

pub(crate) fn shop(options: Shop, terminal: Terminal) -> anyhow::Result<Exit> {
    if options.exit_with_stdin {
        end_with_stdin();
    }
    let capacity = Capacity {
        workers: u32::try_from(options.workers).context("--workers is too large")?,
        service_time: options.service_time,
        queue: u32::try_from(options.queue).context("--queue is too large")?,
        ..Capacity::default()
    };
    let control = options.control.map(ControlAddress::Tcp);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Whoever started this process learns the port from the first line.
    let ready = move |address: std::net::SocketAddr| terminal.data(&address.to_string());
    if options.stub {
        let stub = StubOptions {
            listen: options.listen,
            control,
            name: options.name,
            version: options.version,
            zone: Some(options.zone),
            capacity,
            health_in_pool: options.health_in_pool,
            ..StubOptions::default()
        };
        runtime.block_on(evenkeel_shop::run_stub(stub, ready))?;
    } else {
        let shop = ShopOptions {
            listen: options.listen,
            control,
            name: options.name,
            version: options.version,
            zone: Some(options.zone),
            capacity,
            health_in_pool: options.health_in_pool,
            database: options.database.unwrap_or_else(|| "shop.db".into()),
            ..ShopOptions::default()
        };
        runtime.block_on(evenkeel_shop::run(shop, ready))?;
    }
    Ok(Exit::Ok)
}

/// Ends this process when its parent is gone: the parent holds the other end of standard input.
fn end_with_stdin() {
    let watch = move || {
        let mut nothing = [0u8; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|n| n > 0) {}
        #[expect(
            clippy::exit,
            reason = "the parent is gone; there is nobody to return to"
        )]
        std::process::exit(0);
    };
    drop(
        std::thread::Builder::new()
            .name("parent-watch".to_owned())
            .spawn(watch),
    );
}

pub(crate) fn load(options: &Load, terminal: Terminal) -> anyhow::Result<Exit> {
    let load = evenkeel_shop::load::start(LoadOptions {
        target: format!("http://{}", options.target),
        rate: options.rate,
        duration: Some(Duration::from_secs(options.seconds)),
        seed: options.seed,
        ..LoadOptions::default()
    })?;
    let report = load.wait();
    let total = report.total;
    let value = serde_json::json!({
        "sent": total.sent, "ok": total.ok, "client_error": total.client_error, "server_error": total.server_error,
        "failed": total.connect_failed + total.reset + total.timeout, "shed": total.shed, "harmed": total.harmed,
    });
    if terminal.json {
        terminal.json(&value)?;
    } else {
        terminal.data(&value.to_string());
    }
    Ok(Exit::Ok)
}
