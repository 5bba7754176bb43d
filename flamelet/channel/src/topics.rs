//! The one place that builds and reads topics.
//!
//! `flame/<job>/<channel>/<group>/all/<role>/<from>`, `flame/<job>/<channel>/<group>/to/<to>/<from>` and, for wills,
//! `flame/<job>/gone/<end>`. The role in the first lets a broker spare an end what its own role broadcasts, its own
//! broadcasts above all. Names from a schema may hold anything (groups such as `default/us` do): what means
//! something to MQTT is percent-encoded.

use flame_model::EndId;

/// Topics of one channel and group.
#[derive(Debug, Clone)]
pub struct Topics {
    job: String,
    base: String,
}

/// What a topic says about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To everybody in the group.
    All {
        /// Who claims to have sent it.
        from: EndId,
    },
    /// To one end.
    To {
        /// The addressee.
        to: EndId,
        /// Who claims to have sent it.
        from: EndId,
    },
    /// A will.
    Gone {
        /// Whose connection broke.
        from: EndId,
    },
}

impl Topics {
    /// Topics of `channel` and `group` in `job`.
    pub fn new(job: &str, channel: &str, group: &str) -> Self {
        let job = escape(job);
        let base = format!("flame/{job}/{}/{}", escape(channel), escape(group));
        Self { job, base }
    }

    /// Where `from`, of `role`, publishes to everybody.
    pub fn all(&self, role: &str, from: &EndId) -> String {
        format!("{}/all/{}/{from}", self.base, escape(role))
    }

    /// Where `from` publishes to `to` alone.
    pub fn to(&self, to: &EndId, from: &EndId) -> String {
        format!("{}/to/{to}/{from}", self.base)
    }

    /// What an end subscribes to that listens to `roles`.
    pub fn filters<'a>(&self, me: &EndId, roles: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let broadcasts = roles.into_iter().map(|role| format!("{}/all/{}/+", self.base, escape(role)));
        broadcasts.chain([format!("{}/to/{me}/+", self.base), format!("flame/{}/gone/+", self.job)]).collect()
    }

    /// Reads a topic of this channel and group; `None` for any other.
    pub fn parse(&self, topic: &str) -> Option<Route> {
        if let Some(rest) = topic.strip_prefix(&self.base).and_then(|rest| rest.strip_prefix('/')) {
            let mut parts = rest.split('/');
            let route = match (parts.next()?, parts.next()?) {
                ("all", _role) => Route::All { from: EndId::new(parts.next()?).ok()? },
                ("to", to) => Route::To { to: EndId::new(to).ok()?, from: EndId::new(parts.next()?).ok()? },
                _ => return None,
            };
            return parts.next().is_none().then_some(route);
        }
        let from = topic.strip_prefix("flame/")?.strip_prefix(&self.job)?.strip_prefix("/gone/")?;
        Some(Route::Gone { from: EndId::new(from).ok()? })
    }
}

/// Where the will of `end` in `job` is published.
pub fn gone(job: &str, end: &EndId) -> String {
    format!("flame/{}/gone/{end}", escape(job))
}

/// Who publishes on a topic of a channel, by its last level. `None` for wills, which a broker publishes, and for what is
/// no topic.
pub fn publisher(topic: &str) -> Option<&str> {
    let (_, ends) = routed(topic)?;
    ends.split_once('/').map(|(_, from)| from).filter(|from| !from.contains('/'))
}

/// For whom a topic of a channel is; `None` when it is for everybody.
pub fn addressee(topic: &str) -> Option<&str> {
    let (route, ends) = routed(topic)?;
    if route == "to" { ends.split_once('/').map(|(to, _)| to) } else { None }
}

/// `all` or `to`, and what follows: role or addressee, then sender.
fn routed(topic: &str) -> Option<(&str, &str)> {
    // flame, job, channel, group, route.
    let (route, ends) = topic.strip_prefix("flame/")?.splitn(4, '/').nth(3)?.split_once('/')?;
    matches!(route, "all" | "to").then_some((route, ends))
}

/// Whether `topic` matches `filter`, which ends with `/+` or holds no wildcard.
pub fn matches(filter: &str, topic: &str) -> bool {
    match filter.strip_suffix('+') {
        Some(prefix) => topic.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/')),
        None => filter == topic,
    }
}

/// One topic level of any text.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '/' | '+' | '#' | '%' | '$') || c.is_control() {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u8) -> EndId {
        EndId::new(&format!("{n:040x}")).unwrap()
    }

    #[test]
    fn topics_are_read_back_and_belong_to_one_group_only() {
        let topics = Topics::new("job", "param", "default/us");
        let all = topics.all("t", &end(1));
        assert_eq!(all, format!("flame/job/param/default%2fus/all/t/{}", end(1)));
        assert_eq!(topics.parse(&all), Some(Route::All { from: end(1) }));
        assert_eq!(topics.parse(&topics.to(&end(2), &end(1))), Some(Route::To { to: end(2), from: end(1) }));
        assert_eq!(topics.parse(&gone("job", &end(3))), Some(Route::Gone { from: end(3) }));
        assert_eq!(Topics::new("job", "param", "default").parse(&all), None);
        assert_eq!(topics.parse(&format!("{all}/x")), None);
    }

    #[test]
    fn the_ends_of_a_topic_are_told_without_knowing_its_channel() {
        let topics = Topics::new("job", "param", "default/us");
        let (all, to) = (topics.all("t", &end(1)), topics.to(&end(2), &end(1)));
        let (one, two) = (end(1).to_string(), end(2).to_string());
        assert_eq!((publisher(&all), addressee(&all)), (Some(one.as_str()), None));
        assert_eq!((publisher(&to), addressee(&to)), (Some(one.as_str()), Some(two.as_str())));
        for other in [gone("job", &end(1)), "flame/job/c/g/all".into(), format!("{all}/x"), "x".into()] {
            assert_eq!(publisher(&other), None, "{other}");
        }
    }

    #[test]
    fn filters_match_their_topics_and_no_others() {
        let topics = Topics::new("j", "c", "g");
        let filters = topics.filters(&end(2), ["t"]);
        let any = |topic: &str| filters.iter().any(|filter| matches(filter, topic));
        assert!(any(&topics.all("t", &end(1))));
        assert!(any(&topics.to(&end(2), &end(1))));
        assert!(any(&gone("j", &end(1))));
        assert!(!any(&topics.all("u", &end(1))));
        assert!(!any(&topics.to(&end(3), &end(1))));
        assert!(!any(&Topics::new("j", "c", "h").all("t", &end(1))));
    }
}
