//! The JSON form of an entry. Owned here and nowhere else; fields that a later version adds are passed over
//! on reading, fields that are missing are an error with the field's name.

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{DeploymentId, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ALL_PPM, ActionRecord, CandidateRecord, ContentHash, DeploymentRecord, DiagnosisRecord,
    DrainRecord, Entry, EscalationState, EscalationStep, EventSource, IncidentKind, IncidentRecord,
    IncidentSeverity, IncidentStatus, RevisionRecord, RevisionState, RolloutRecord, RolloutState,
    Strategy, TimelineEvent, Told,
};
use serde_json::{Value, json};

/// An entry as it stands in the table.
pub(crate) struct Wire {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// Number of the revision, incident or deployment it is about.
    pub(crate) reference: Option<u64>,
    /// Its JSON.
    pub(crate) body: String,
}

/// Writes an entry.
pub(crate) fn encode(entry: &Entry) -> Wire {
    let (kind, reference, body) = match entry {
        Entry::Revision(r) => ("revision", Some(r.id.0), revision(r)),
        Entry::RevisionState {
            id,
            state,
            at,
            why,
            incident,
        } => (
            "revision_state",
            Some(id.0),
            json!({ "id": id.0, "state": state.as_str(), "at": at.0, "why": why, "incident": incident.map(|i| i.0) }),
        ),
        Entry::ConfirmBy { id, confirm_by } => (
            "confirm_by",
            Some(id.0),
            json!({ "id": id.0, "confirm_by": confirm_by.map(|w| w.0) }),
        ),
        Entry::Deployment(d) => ("deployment", Some(d.id.0), deployment(d)),
        Entry::Rollout(r) => ("rollout", Some(r.id.0), rollout(r)),
        Entry::Incident(i) => ("incident", Some(i.id.0), incident(i)),
        Entry::Event(e) => ("event", e.incident.map(|i| i.0), event(e)),
        Entry::Quarantine { hash, incident, at } => (
            "quarantine",
            None,
            json!({ "hash": hash.to_string(), "incident": incident.map(|i| i.0), "at": at.0 }),
        ),
        Entry::Release { hash, at } => (
            "release",
            None,
            json!({ "hash": hash.to_string(), "at": at.0 }),
        ),
        Entry::Drain(d) => ("drain", None, drain(d)),
        Entry::DrainEnd { pool, backend, at } => (
            "drain_end",
            None,
            json!({ "pool": pool.as_str(), "backend": backend.as_str(), "at": at.0 }),
        ),
        Entry::Audit {
            at,
            revision,
            errors,
            warnings,
            findings,
        } => (
            "audit",
            Some(revision.0),
            json!({ "at": at.0, "revision": revision.0, "errors": errors, "warnings": warnings, "findings": findings }),
        ),
    };
    Wire {
        kind,
        reference,
        body: body.to_string(),
    }
}

/// Reads an entry; the error says which field is wrong.
pub(crate) fn decode(kind: &str, body: &str) -> Result<Entry, String> {
    let value: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let v = &value;
    Ok(match kind {
        "revision" => Entry::Revision(read_revision(v)?),
        "revision_state" => Entry::RevisionState {
            id: RevisionId(number(v, "id")?),
            state: word(v, "state", RevisionState::from_word)?,
            at: Wall(number(v, "at")?),
            why: text(v, "why")?,
            incident: maybe_number(v, "incident").map(IncidentId),
        },
        "confirm_by" => Entry::ConfirmBy {
            id: RevisionId(number(v, "id")?),
            confirm_by: maybe_number(v, "confirm_by").map(Wall),
        },
        "deployment" => Entry::Deployment(read_deployment(v)?),
        "rollout" => Entry::Rollout(Box::new(read_rollout(v)?)),
        "incident" => Entry::Incident(Box::new(read_incident(v)?)),
        "event" => Entry::Event(read_event(v)?),
        "quarantine" => Entry::Quarantine {
            hash: read_hash(v, "hash")?,
            incident: maybe_number(v, "incident").map(IncidentId),
            at: Wall(number(v, "at")?),
        },
        "release" => Entry::Release {
            hash: read_hash(v, "hash")?,
            at: Wall(number(v, "at")?),
        },
        "drain" => Entry::Drain(read_drain(v)?),
        "drain_end" => Entry::DrainEnd {
            pool: name(v, "pool")?,
            backend: name(v, "backend")?,
            at: Wall(number(v, "at")?),
        },
        "audit" => Entry::Audit {
            at: Wall(number(v, "at")?),
            revision: RevisionId(number(v, "revision")?),
            errors: number(v, "errors")? as u32,
            warnings: number(v, "warnings")? as u32,
            findings: texts(v, "findings")?,
        },
        other => return Err(format!("kind `{other}` is not known")),
    })
}

fn revision(r: &RevisionRecord) -> Value {
    json!({
        "id": r.id.0, "parent": r.parent.map(|p| p.0), "hash": r.hash.to_string(), "text": &*r.text,
        "author": r.author, "reason": r.reason, "state": r.state.as_str(), "at": r.at.0, "forced": r.forced,
        "confirm_by": r.confirm_by.map(|w| w.0), "keep_until": r.keep_until.map(|w| w.0),
        "incident": r.incident.map(|i| i.0),
    })
}

fn read_revision(v: &Value) -> Result<RevisionRecord, String> {
    Ok(RevisionRecord {
        id: RevisionId(number(v, "id")?),
        parent: maybe_number(v, "parent").map(RevisionId),
        hash: read_hash(v, "hash")?,
        text: text(v, "text")?.into(),
        author: text(v, "author")?,
        reason: text(v, "reason")?,
        state: word(v, "state", RevisionState::from_word)?,
        at: Wall(number(v, "at")?),
        forced: v.get("forced").and_then(Value::as_bool).unwrap_or(false),
        confirm_by: maybe_number(v, "confirm_by").map(Wall),
        keep_until: maybe_number(v, "keep_until").map(Wall),
        incident: maybe_number(v, "incident").map(IncidentId),
    })
}

fn deployment(d: &DeploymentRecord) -> Value {
    json!({
        "id": d.id.0, "pool": d.pool.as_str(), "version": d.version.as_str(),
        "backends": d.backends.iter().map(Name::as_str).collect::<Vec<_>>(),
        "at": d.at.0, "recorded_at": d.recorded_at.0, "author": d.author, "note": d.note,
        "ended_at": d.ended_at.map(|w| w.0), "told": d.told.map(Told::as_str),
        "revision": d.revision.map(|r| r.0), "messages": d.messages,
    })
}

fn read_deployment(v: &Value) -> Result<DeploymentRecord, String> {
    Ok(DeploymentRecord {
        id: DeploymentId(number(v, "id")?),
        pool: name(v, "pool")?,
        version: name(v, "version")?,
        backends: texts(v, "backends")?
            .iter()
            .map(|t| to_name(t, "backends"))
            .collect::<Result<_, _>>()?,
        at: Wall(number(v, "at")?),
        recorded_at: Wall(number(v, "recorded_at")?),
        author: text(v, "author")?,
        note: text(v, "note")?,
        // Missing in what was written before they were kept.
        ended_at: maybe_number(v, "ended_at").map(Wall),
        told: match v.get("told") {
            None | Some(Value::Null) => None,
            Some(_) => Some(word(v, "told", Told::from_word)?),
        },
        revision: maybe_number(v, "revision").map(RevisionId),
        messages: match v.get("messages") {
            None => Vec::new(),
            Some(_) => texts(v, "messages")?,
        },
    })
}

fn rollout(r: &RolloutRecord) -> Value {
    json!({
        "id": r.id.0, "pool": r.pool.as_str(), "version": r.version.as_str(), "stable": r.stable.as_str(),
        "strategy": r.strategy.as_str(), "steps": r.steps, "step_min_ms": r.step_min_ms, "step": r.step,
        "share_ppm": r.share_ppm, "state": r.state.as_str(), "at": r.at.0, "since": r.since.0, "author": r.author,
        "reason": r.reason, "why": r.why, "forced": r.forced, "revision": r.revision.0,
        "incident": r.incident.map(|i| i.0), "lifted_by": r.lifted_by.map(|r| r.0),
    })
}

fn read_rollout(v: &Value) -> Result<RolloutRecord, String> {
    let ppm = |value: u64, field: &str| {
        u32::try_from(value)
            .ok()
            .filter(|ppm| *ppm <= ALL_PPM)
            .ok_or_else(|| format!("`{field}` is above {ALL_PPM}"))
    };
    let step = |value: &Value| {
        let value = value.as_u64();
        ppm(
            value.ok_or("`steps` holds something other than a whole number")?,
            "steps",
        )
    };
    let steps: Vec<u32> = list(v, "steps")?
        .iter()
        .map(step)
        .collect::<Result<_, String>>()?;
    let place = number(v, "step")? as usize;
    if place >= steps.len() {
        return Err("`step` is none of `steps`".to_owned());
    }
    Ok(RolloutRecord {
        id: DeploymentId(number(v, "id")?),
        pool: name(v, "pool")?,
        version: name(v, "version")?,
        stable: name(v, "stable")?,
        strategy: word(v, "strategy", Strategy::from_word)?,
        steps,
        step_min_ms: number(v, "step_min_ms")?,
        step: place,
        share_ppm: ppm(number(v, "share_ppm")?, "share_ppm")?,
        state: word(v, "state", RolloutState::from_word)?,
        at: Wall(number(v, "at")?),
        since: Wall(number(v, "since")?),
        author: text(v, "author")?,
        reason: text(v, "reason")?,
        why: text(v, "why")?,
        forced: v.get("forced").and_then(Value::as_bool).unwrap_or(false),
        revision: RevisionId(number(v, "revision")?),
        incident: maybe_number(v, "incident").map(IncidentId),
        lifted_by: maybe_number(v, "lifted_by").map(RevisionId),
    })
}

fn drain(d: &DrainRecord) -> Value {
    json!({
        "pool": d.pool.as_str(), "backend": d.backend.as_str(), "at": d.at.0, "until": d.until.0,
        "author": d.author, "reason": d.reason,
    })
}

fn read_drain(v: &Value) -> Result<DrainRecord, String> {
    Ok(DrainRecord {
        pool: name(v, "pool")?,
        backend: name(v, "backend")?,
        at: Wall(number(v, "at")?),
        until: Wall(number(v, "until")?),
        author: text(v, "author")?,
        reason: text(v, "reason")?,
    })
}

fn event(e: &TimelineEvent) -> Value {
    json!({
        "incident": e.incident.map(|i| i.0), "at": e.at.0, "source": e.source.as_str(), "kind": e.kind,
        "actor": e.actor, "subject": e.subject, "text": e.text,
    })
}

fn read_event(v: &Value) -> Result<TimelineEvent, String> {
    Ok(TimelineEvent {
        incident: maybe_number(v, "incident").map(IncidentId),
        at: Wall(number(v, "at")?),
        source: word(v, "source", EventSource::from_word)?,
        kind: text(v, "kind")?,
        actor: text(v, "actor")?,
        subject: text(v, "subject")?,
        text: text(v, "text")?,
    })
}

fn incident(i: &IncidentRecord) -> Value {
    json!({
        "id": i.id.0, "kind": i.kind.as_str(), "severity": i.severity.as_str(), "status": i.status.as_str(),
        "title": i.title, "pool": i.pool.as_ref().map(Name::as_str),
        "fault_at": i.fault_at.map(|w| w.0),
        "fault_between": i.fault_between.map(|(lo, hi)| [lo.0, hi.0]),
        "detected_at": i.detected_at.0,
        "acknowledged_at": i.acknowledged_at.map(|w| w.0), "acknowledged_by": i.acknowledged_by,
        "identified_at": i.identified_at.map(|w| w.0), "mitigated_at": i.mitigated_at.map(|w| w.0),
        "resolved_at": i.resolved_at.map(|w| w.0), "closed_at": i.closed_at.map(|w| w.0),
        "impact_requests": i.impact_requests, "impact_users_share": i.impact_users_share,
        "diagnosis": i.diagnosis.as_ref().map(diagnosis),
        "actions": i.actions.iter().map(|a| json!({ "at": a.at.0, "kind": a.kind, "detail": a.detail, "outcome": a.outcome })).collect::<Vec<_>>(),
        "revision_before": i.revision_before.map(|r| r.0), "revision_after": i.revision_after.map(|r| r.0),
        "escalation": {
            "paged": i.escalation.paged, "next_at": i.escalation.next_at.map(|w| w.0),
            "levels": i.escalation.levels.iter().map(|l| json!({
                "name": l.name.as_str(), "ack_within_ms": l.ack_within_ms,
                "notify": l.notify.iter().map(Name::as_str).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        },
    })
}

fn read_incident(v: &Value) -> Result<IncidentRecord, String> {
    let between = v
        .get("fault_between")
        .and_then(Value::as_array)
        .and_then(|pair| Some((Wall(pair.first()?.as_u64()?), Wall(pair.get(1)?.as_u64()?))));
    let diagnosis = match v.get("diagnosis") {
        None | Some(Value::Null) => None,
        Some(d) => Some(read_diagnosis(d)?),
    };
    Ok(IncidentRecord {
        id: IncidentId(number(v, "id")?),
        kind: word(v, "kind", IncidentKind::from_word)?,
        severity: word(v, "severity", IncidentSeverity::from_word)?,
        status: word(v, "status", IncidentStatus::from_word)?,
        title: text(v, "title")?,
        pool: maybe_name(v, "pool")?,
        fault_at: maybe_number(v, "fault_at").map(Wall),
        fault_between: between,
        detected_at: Wall(number(v, "detected_at")?),
        acknowledged_at: maybe_number(v, "acknowledged_at").map(Wall),
        acknowledged_by: v
            .get("acknowledged_by")
            .and_then(Value::as_str)
            .map(str::to_owned),
        identified_at: maybe_number(v, "identified_at").map(Wall),
        mitigated_at: maybe_number(v, "mitigated_at").map(Wall),
        resolved_at: maybe_number(v, "resolved_at").map(Wall),
        closed_at: maybe_number(v, "closed_at").map(Wall),
        impact_requests: number(v, "impact_requests")?,
        impact_users_share: v.get("impact_users_share").and_then(Value::as_f64),
        diagnosis,
        actions: list(v, "actions")?
            .iter()
            .map(read_action)
            .collect::<Result<_, _>>()?,
        revision_before: maybe_number(v, "revision_before").map(RevisionId),
        revision_after: maybe_number(v, "revision_after").map(RevisionId),
        escalation: read_escalation(v.get("escalation").unwrap_or(&Value::Null))?,
    })
}

fn read_action(v: &Value) -> Result<ActionRecord, String> {
    Ok(ActionRecord {
        at: Wall(number(v, "at")?),
        kind: text(v, "kind")?,
        detail: text(v, "detail")?,
        outcome: text(v, "outcome")?,
    })
}

fn read_escalation(v: &Value) -> Result<EscalationState, String> {
    if v.is_null() {
        return Ok(EscalationState::default());
    }
    let level = |l: &Value| -> Result<EscalationStep, String> {
        Ok(EscalationStep {
            name: name(l, "name")?,
            notify: texts(l, "notify")?
                .iter()
                .map(|t| to_name(t, "notify"))
                .collect::<Result<_, _>>()?,
            ack_within_ms: number(l, "ack_within_ms")?,
        })
    };
    Ok(EscalationState {
        levels: list(v, "levels")?
            .iter()
            .map(level)
            .collect::<Result<_, _>>()?,
        paged: number(v, "paged")? as usize,
        next_at: maybe_number(v, "next_at").map(Wall),
    })
}

fn diagnosis(d: &DiagnosisRecord) -> Value {
    json!({
        "cause": d.cause.as_str(), "mechanism": d.mechanism.as_str(),
        "subject": d.subject.as_ref().map(subject), "evidence": d.evidence,
        "candidates": d.candidates.iter().map(|c| json!({
            "cause": c.cause.as_str(), "mechanism": c.mechanism.as_str(), "subject": subject(&c.subject),
            // JSON has no infinity: a vetoed candidate has no score.
            "score": c.score.is_finite().then_some(c.score),
            "for": c.evidence_for, "against": c.evidence_against,
        })).collect::<Vec<_>>(),
    })
}

fn read_diagnosis(v: &Value) -> Result<DiagnosisRecord, String> {
    let candidate = |c: &Value| -> Result<CandidateRecord, String> {
        Ok(CandidateRecord {
            cause: word(c, "cause", Cause::from_word)?,
            mechanism: word(c, "mechanism", Mechanism::from_word)?,
            subject: read_subject(c.get("subject").unwrap_or(&Value::Null))?,
            score: c
                .get("score")
                .and_then(Value::as_f64)
                .unwrap_or(f64::NEG_INFINITY),
            evidence_for: texts(c, "for")?,
            evidence_against: texts(c, "against")?,
        })
    };
    let subject = match v.get("subject") {
        None | Some(Value::Null) => None,
        Some(s) => Some(read_subject(s)?),
    };
    Ok(DiagnosisRecord {
        cause: word(v, "cause", Cause::from_word)?,
        mechanism: word(v, "mechanism", Mechanism::from_word)?,
        subject,
        evidence: texts(v, "evidence")?,
        candidates: list(v, "candidates")?
            .iter()
            .map(candidate)
            .collect::<Result<_, _>>()?,
    })
}

fn subject(s: &Subject) -> Value {
    match s {
        Subject::Revision(id) => json!({ "revision": id.0 }),
        Subject::Deployment { id, pool, version } => {
            json!({ "deployment": id.0, "pool": pool.as_str(), "version": version.as_str() })
        }
        Subject::Backend { pool, backend } => {
            json!({ "backend": backend.as_str(), "pool": pool.as_str() })
        }
        Subject::Pool(pool) => json!({ "pool": pool.as_str() }),
        Subject::Zone(zone) => json!({ "zone": zone.as_str() }),
        Subject::Key(hash) => json!({ "key": format!("{hash:016x}") }),
        Subject::Listener(listener) => json!({ "listener": listener.as_str() }),
    }
}

fn read_subject(v: &Value) -> Result<Subject, String> {
    let has = |field: &str| v.get(field).is_some();
    Ok(if has("revision") {
        Subject::Revision(RevisionId(number(v, "revision")?))
    } else if has("deployment") {
        Subject::Deployment {
            id: DeploymentId(number(v, "deployment")?),
            pool: name(v, "pool")?,
            version: name(v, "version")?,
        }
    } else if has("backend") {
        Subject::Backend {
            pool: name(v, "pool")?,
            backend: name(v, "backend")?,
        }
    } else if has("pool") {
        Subject::Pool(name(v, "pool")?)
    } else if has("zone") {
        Subject::Zone(name(v, "zone")?)
    } else if has("key") {
        let hex = text(v, "key")?;
        Subject::Key(u64::from_str_radix(&hex, 16).map_err(|error| format!("`key`: {error}"))?)
    } else {
        Subject::Listener(name(v, "listener")?)
    })
}

fn number(v: &Value, field: &str) -> Result<u64, String> {
    v.get(field)
        .and_then(Value::as_u64)
        .ok_or_else(|| format!("`{field}` is not a whole number"))
}

fn maybe_number(v: &Value, field: &str) -> Option<u64> {
    v.get(field).and_then(Value::as_u64)
}

fn text(v: &Value, field: &str) -> Result<String, String> {
    v.get(field)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| format!("`{field}` is not a text"))
}

fn list<'v>(v: &'v Value, field: &str) -> Result<&'v [Value], String> {
    v.get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or_else(|| format!("`{field}` is not a list"))
}

fn texts(v: &Value, field: &str) -> Result<Vec<String>, String> {
    list(v, field)?
        .iter()
        .map(|t| {
            t.as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("`{field}` holds something other than a text"))
        })
        .collect()
}

fn to_name(value: &str, field: &str) -> Result<Name, String> {
    Name::new(value).map_err(|error| format!("`{field}`: {error}"))
}

fn name(v: &Value, field: &str) -> Result<Name, String> {
    to_name(&text(v, field)?, field)
}

fn maybe_name(v: &Value, field: &str) -> Result<Option<Name>, String> {
    match v.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => name(v, field).map(Some),
    }
}

fn word<T>(v: &Value, field: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let value = text(v, field)?;
    parse(&value).ok_or_else(|| format!("`{field}`: `{value}` is not a word this version knows"))
}

fn read_hash(v: &Value, field: &str) -> Result<ContentHash, String> {
    let hex = text(v, field)?;
    let mut bytes = [0u8; 32];
    let digits: Vec<u8> = hex.bytes().collect();
    if digits.len() != 64 {
        return Err(format!("`{field}` is not a SHA-256"));
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|error| format!("`{field}`: {error}"))?;
        *byte = u8::from_str_radix(pair, 16).map_err(|error| format!("`{field}`: {error}"))?;
    }
    Ok(ContentHash(bytes))
}
