//! The command line's calls to a running instance.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Global;
use crate::exit::{Exit, coded};

/// Longest wait for an answer: the control loop itself gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Where an instance is when nothing says otherwise.
const DEFAULT: &str = "127.0.0.1:7700";

/// What came back, if anything did.
type Answer = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// A running instance.
pub(crate) struct Admin {
    address: SocketAddr,
    token_file: PathBuf,
    agent: ureq::Agent,
}

impl Admin {
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let token_file = global
            .token_file
            .clone()
            .unwrap_or_else(|| global.data.join("admin.token"));
        Ok(Self::at(address(global)?, token_file))
    }

    pub(crate) fn at(address: SocketAddr, token_file: PathBuf) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        Self {
            address,
            token_file,
            agent,
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.reading(|authorization| {
            let get = self.agent.get(self.url(path));
            with(get, authorization).call()
        });
        self.read(answer)
    }

    pub(crate) fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.reading(|authorization| {
            let get = self.agent.get(self.url(path));
            with(get, authorization).call()
        });
        let mut answer = self.reached(answer)?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .read_to_string()
            .context("the answer was cut short")?;
        if status == 200 {
            Ok(text)
        } else {
            Err(refused(status, &text))
        }
    }

    pub(crate) fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        let answer = self.sent(path, body)?;
        self.read(answer)
    }

    /// A post about something that the command line names: a name that nothing has is a wrong argument.
    pub(crate) fn post_about<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        let answer = self.sent(path, body)?;
        let is_unknown = matches!(&answer, Ok(answer) if answer.status().as_u16() == 404);
        self.read(answer).map_err(|error| {
            if is_unknown {
                coded(Exit::Usage, error.to_string())
            } else {
                error
            }
        })
    }

    /// What came of a post with the token of somebody who may change things.
    fn sent<B: Serialize>(&self, path: &str, body: &B) -> anyhow::Result<Answer> {
        let token = self.token()?;
        let post = self.agent.post(self.url(path));
        let post = post.header("authorization", format!("Bearer {token}"));
        Ok(post.send_json(body))
    }

    /// A post that changes nothing and needs no token on loopback.
    pub(crate) fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        let answer = self.reading(|authorization| {
            let post = self.agent.post(self.url(path));
            with(post, authorization).send_json(body)
        });
        self.read(answer)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn token(&self) -> anyhow::Result<String> {
        read_token(&self.token_file).map_err(|why| {
            coded(
                Exit::Failed,
                format!(
                    "cannot read the admin token `{}`: {why}; a change needs it: point --data at the instance's data directory, or name the file with --token-file",
                    self.token_file.display()
                ),
            )
        })
    }

    /// Reads with the token at hand, and without one when the instance does not know it: DIR may belong to another
    /// instance, and a read on loopback needs no token.
    fn reading(&self, send: impl Fn(Option<&str>) -> Answer) -> Answer {
        if let Ok(token) = read_token(&self.token_file) {
            let answer = send(Some(&format!("Bearer {token}")));
            if !matches!(&answer, Ok(answer) if answer.status().as_u16() == 401) {
                return answer;
            }
        }
        send(None)
    }

    fn reached(&self, answer: Answer) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        answer.map_err(|error| {
            coded(
                Exit::Unreachable,
                format!(
                    "no running instance answers at {}: {error}; start one with `evenkeel run`, or name its admin address with --admin",
                    self.address
                ),
            )
        })
    }

    fn read<T: DeserializeOwned>(&self, answer: Answer) -> anyhow::Result<T> {
        let mut answer = self.reached(answer)?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .context("the answer was cut short")?;
        if status == 401 {
            let file = self.token_file.display();
            return Err(refused(status, &text).context(format!(
                "{} does not accept the token of `{file}`; name the data directory of that instance with --data, or its token with --token-file",
                self.address
            )));
        }
        if status != 200 {
            return Err(refused(status, &text));
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not an evenkeel of this version", self.address))
    }
}

/// With an Authorization header, or with none at all: one that is not a known token is refused.
fn with<B>(
    request: ureq::RequestBuilder<B>,
    authorization: Option<&str>,
) -> ureq::RequestBuilder<B> {
    match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    }
}

fn refused(status: u16, text: &str) -> anyhow::Error {
    let message = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|value| value.get("error")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("status {status}: {}", text.trim()));
    let exit = if status == 409 {
        Exit::Refused
    } else {
        Exit::Failed
    };
    coded(exit, message)
}

fn read_token(path: &Path) -> Result<String, std::io::Error> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// `--admin`, else what ./evenkeel.toml says, else the default.
fn address(global: &Global) -> anyhow::Result<SocketAddr> {
    if let Some(address) = global.admin {
        return Ok(address);
    }
    let configured = evenkeel_control::source::read(Path::new("./evenkeel.toml"))
        .ok()
        .and_then(|text| evenkeel_model::parse::parse(&text, None).config)
        .map(|config| config.admin.address);
    match configured {
        Some(address) => Ok(address),
        None => DEFAULT.parse().context("the default address is wrong"),
    }
}
