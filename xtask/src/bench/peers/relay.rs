//! The floor: a process that passes bytes on between clients and the origin and looks at none of them. One thread, a
//! connection to the origin for each of a client. Whatever a proxy takes beyond it is what HTTP costs it.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

const BUFFER: usize = 16 * 1024;

#[derive(Args)]
pub(crate) struct Relay {
    /// Where clients connect
    #[arg(long)]
    port: u16,
    /// Where the origin listens, on 127.0.0.1
    #[arg(long)]
    origin: u16,
}

impl Relay {
    /// Runs until it is killed.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.pass())
    }

    async fn pass(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let origin = SocketAddr::from(([127, 0, 0, 1], self.origin));
        loop {
            let (mut client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut origin = TcpStream::connect(origin).await?;
                origin.set_nodelay(true)?;
                copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER).await
            });
        }
    }
}
