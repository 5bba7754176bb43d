//! The file of `flamelet --agents`: an agent id and its key on each line, so that one flamelet serves several tasks.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use flame_api::{AgentId, Secret};

use crate::args::MAX_KEY;

/// Longest file, in bytes: ten thousand agents with keys of 64 bytes, and room for remarks.
const MAX_FILE: u64 = 4 << 20;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) key: Secret,
}

/// Reads a file. All mistakes at once; the keys are never part of a message.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Agent>> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot read the agents file {}", path.display()))?;
    if about.len() > MAX_FILE {
        bail!("the agents file {} has more than {MAX_FILE} bytes", path.display());
    }
    if about.permissions().mode() & 0o077 != 0 {
        tracing::warn!("others can read the keys in {}; `chmod 600` keeps them to you", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map_err(|mistakes| anyhow::anyhow!("the agents file {}:\n  {}", path.display(), mistakes.join("\n  ")))
}

fn parse(text: &str) -> Result<Vec<Agent>, Vec<String>> {
    let (mut agents, mut mistakes, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match agent(line) {
            Ok(agent) if known.insert(agent.id.clone()) => agents.push(agent),
            Ok(agent) => mistakes.push(format!("line {number}: agent {} is there twice", agent.id)),
            Err(mistake) => mistakes.push(format!("line {number}: {mistake}")),
        }
    }
    if agents.is_empty() && mistakes.is_empty() {
        mistakes.push("it names no agent; write an agent id and its key on each line".into());
    }
    if mistakes.is_empty() { Ok(agents) } else { Err(mistakes) }
}

fn agent(line: &str) -> Result<Agent, String> {
    let Some((id, key)) = line.split_once(char::is_whitespace) else {
        // What there is may be a key.
        return Err("write an agent id, a space and its key".into());
    };
    // The text may be a key, too.
    let Ok(id) = id.parse::<AgentId>() else {
        return Err("it does not begin with an agent id of 40 hex digits; `flamectl get tasks JOB` shows them".into());
    };
    let key = key.trim_start();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(format!("the key of agent {id} has {} bytes; a key has 1 to {MAX_KEY}", key.len()));
    }
    Ok(Agent { id, key: Secret::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_a_key_stand_on_each_line() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let agents = parse(&format!("# ward 3\n{one} key one\n\n  {two}\tsecond\n")).unwrap();
        let told: Vec<_> = agents.iter().map(|agent| (agent.id.as_str(), agent.key.expose())).collect();
        assert_eq!(told, [(one.as_str(), "key one"), (two.as_str(), "second")]);
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_key_is() {
        let id = "1".repeat(40);
        let mistakes = parse(&format!("hunter2\nshort hunter2\n{id} hunter2\n{id} hunter3\n{id} ")).unwrap_err();
        let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 4", "line 5"], "{mistakes:?}");
        assert!(!mistakes.concat().contains("hunter"), "{mistakes:?}");
        assert!(parse("\n# nobody\n").is_err());
    }
}
