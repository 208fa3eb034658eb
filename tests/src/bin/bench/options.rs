//! What the benchmark is told on its command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Packets,
    EndToEnd,
    Connections,
    Control,
    Flood,
    Live,
    MqttMode,
    Splice,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Packets,
        Self::EndToEnd,
        Self::Connections,
        Self::Control,
        Self::Flood,
        Self::Live,
        Self::MqttMode,
        Self::Splice,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::EndToEnd => "end-to-end",
            Self::Connections => "connections",
            Self::Control => "control",
            Self::Flood => "flood",
            Self::Live => "live",
            Self::MqttMode => "mqtt-mode",
            Self::Splice => "splice",
        }
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Short runs.
    pub quick: bool,
    /// What is measured.
    pub parts: Vec<Part>,
    /// The document whose tables are replaced.
    pub write: Option<PathBuf>,
    /// The `mqlb` that is measured.
    pub mqlb: PathBuf,
    /// The object of the program that replays frames; needed for the packets.
    pub replay: Option<PathBuf>,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let (mut quick, mut parts) = (false, Part::ALL.to_vec());
        let (mut write, mut mqlb, mut replay) = (None, None, None);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--quick" => quick = true,
                "--only" => parts = read_parts(value()?)?,
                "--write" => write = Some(value()?.into()),
                "--mqlb" => mqlb = Some(value()?.into()),
                "--replay" => replay = Some(value()?.into()),
                other => bail!(
                    "what is {other}?\n\
                     hint: say `--mqlb PATH`, `--replay FILE`, `--quick`, `--only PART[,PART]`, `--write FILE`"
                ),
            }
        }
        let mqlb = mqlb.context("say with `--mqlb PATH` which mqlb to measure")?;
        Ok(Self { quick, parts, write, mqlb, replay })
    }
}

fn read_parts(names: &str) -> Result<Vec<Part>> {
    let read = |name| {
        Part::ALL.into_iter().find(|part| part.name() == name).with_context(|| {
            let known = Part::ALL.map(Part::name).join(", ");
            format!("there is no part `{name}`\nhint: the parts are {known}")
        })
    };
    names.split(',').map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_choice_every_part_is_measured() {
        let options = parse("--mqlb m").unwrap();
        assert_eq!(options.parts, Part::ALL);
        assert!(!options.quick && options.write.is_none());
    }

    #[test]
    fn parts_are_chosen_by_name() {
        assert_eq!(parse("--mqlb m --only control").unwrap().parts, [Part::Control]);
        let both = parse("--only control,end-to-end --quick --mqlb m").unwrap();
        assert_eq!((both.parts, both.quick), (vec![Part::Control, Part::EndToEnd], true));
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_says_what_would_be() {
        for (line, says) in [
            (
                "--mqlb m --only speed",
                "the parts are packets, end-to-end, connections, control, flood, live, mqtt-mode, splice",
            ),
            ("--mqlb m --fast", "--quick"),
            ("--mqlb", "--mqlb wants a value"),
            ("--quick", "--mqlb PATH"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
