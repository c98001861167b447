//! `evenkeel incident ...`.

use evenkeel_web::requests::IncidentRequest;
use evenkeel_web::views::IncidentView;
use serde_json::Value;

use crate::admin::Admin;
use crate::args::{Global, Incident};
use crate::commands::replay;
use crate::exit::Exit;
use crate::render;
use crate::render::Text as _;
use crate::terminal::Terminal;

pub(crate) fn incident(
    command: Incident,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let admin = || Admin::new(global);
    match command {
        Incident::Replay { what } => return replay::replay(&what, global, terminal),
        Incident::List { open } => list(&admin()?, open, terminal)?,
        Incident::Show { id } => show(&admin()?, &id, terminal)?,
        Incident::Postmortem { id } => {
            let text = admin()?.get_text(&format!("/api/incidents/{id}/postmortem"))?;
            if terminal.json {
                terminal.json(&serde_json::json!({ "id": id, "markdown": text }))?;
            } else {
                terminal.data(&text);
            }
        }
        Incident::Ack { id } => verb(&admin()?, &id, "ack", String::new(), terminal)?,
        Incident::Note { id, text } => verb(&admin()?, &id, "note", text, terminal)?,
        Incident::Escalate { id } => verb(&admin()?, &id, "escalate", String::new(), terminal)?,
        Incident::Resolve {
            id,
            reason,
            false_alarm,
        } => {
            verb(
                &admin()?,
                &id,
                if false_alarm {
                    "false_alarm"
                } else {
                    "resolve"
                },
                reason,
                terminal,
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn verb(
    admin: &Admin,
    id: &str,
    verb: &str,
    text: String,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let answer: Value = admin.post(
        &format!("/api/incidents/{id}/{verb}"),
        &IncidentRequest { text },
    )?;
    if terminal.json {
        return terminal.json(&answer);
    }
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("-");
    let done = match verb {
        "ack" => "acknowledged, paging stopped",
        "note" => "noted",
        "escalate" => "the next level is paged",
        _ => "done",
    };
    let taken_by = answer.get("acknowledged_by").and_then(Value::as_str);
    let taken_by = taken_by.map_or_else(String::new, |name| format!(", {name} has it"));
    terminal.data(&format!("{id}: {done}; its status is {status}{taken_by}"));
    Ok(())
}

fn list(admin: &Admin, open: bool, terminal: Terminal) -> anyhow::Result<()> {
    let value: Value = admin.get(&format!("/api/incidents?open={open}"))?;
    if terminal.json {
        return terminal.json(&value);
    }
    let incidents: Vec<IncidentView> =
        serde_json::from_value(value.get("incidents").cloned().unwrap_or_default())?;
    if incidents.is_empty() {
        terminal.data("no incidents");
        return Ok(());
    }
    let mut rows = vec![
        ["id", "severity", "status", "detected", "cause", "title"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for i in &incidents {
        let cause = i
            .diagnosis
            .as_ref()
            .map_or_else(|| "-".to_owned(), |d| d.cause.clone());
        rows.push(vec![
            i.id.clone(),
            i.severity.clone(),
            i.status.clone(),
            i.detected_at.clone(),
            cause,
            i.title.clone(),
        ]);
    }
    let mut out = String::new();
    render::list(&mut out, &rows);
    terminal.data(&out);
    Ok(())
}

fn show(admin: &Admin, id: &str, terminal: Terminal) -> anyhow::Result<()> {
    let value: Value = admin.get(&format!("/api/incidents/{id}"))?;
    if terminal.json {
        return terminal.json(&value);
    }
    let view: IncidentView = serde_json::from_value(value)?;
    let mut out = String::new();
    out.line(format_args!(
        "{} {} {} ({}): {}",
        view.id, view.severity, view.status, view.kind, view.title
    ));
    let times = [
        ("fault", &view.fault_at),
        ("detected", &Some(view.detected_at.clone())),
        ("acknowledged", &view.acknowledged_at),
        ("mitigated", &view.mitigated_at),
        ("resolved", &view.resolved_at),
    ];
    for (name, at) in times {
        out.line(format_args!("  {name:<13}{}", at.as_deref().unwrap_or("-")));
    }
    out.line(format_args!(
        "  impact       {} requests, {} of the users",
        view.impact.requests,
        render::percent(view.impact.users_share)
    ));
    if let Some(diagnosis) = &view.diagnosis {
        out.line(format_args!(
            "\ncause: {} ({}) {}",
            diagnosis.cause,
            diagnosis.mechanism,
            diagnosis.subject.as_deref().unwrap_or("")
        ));
        for line in &diagnosis.evidence {
            out.line(format_args!("  {line}"));
        }
        for c in &diagnosis.candidates {
            let score = c
                .score
                .map_or_else(|| "vetoed".to_owned(), |s| format!("{s:.1} nats"));
            out.line(format_args!(
                "candidate {} {} {}: {score}",
                c.cause, c.mechanism, c.subject
            ));
            for line in &c.evidence_for {
                out.line(format_args!("  + {line}"));
            }
            for line in &c.evidence_against {
                out.line(format_args!("  - {line}"));
            }
        }
    }
    out.push_str("\ntimeline\n");
    for event in view.timeline.iter().flatten() {
        out.line(format_args!(
            "  {} {:<22} {}",
            event.at, event.kind, event.text
        ));
    }
    terminal.data(&out);
    Ok(())
}
