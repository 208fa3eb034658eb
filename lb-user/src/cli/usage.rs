//! What is wrong with a command line, and what it should look like.

use clap::{Command, Error};

use super::failure::Failure;

/// Says what clap found wrong with these words, with a hint that fits the command.
pub(super) fn wrong(error: &Error, root: &mut Command, words: &[String]) -> Failure {
    root.build();
    let (path, command) = find(root, words);
    let text = error.render().to_string();
    // The last paragraph names `--help`, as the hint does.
    let said = text.split("\n\nFor more information").next().unwrap_or_default().trim_end();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let hint = match example(&path, &[command, root]) {
        Some(example) => format!("such as `{example}`; more in `{path} --help`"),
        None => format!("`{path} --help` shows how it is used"),
    };
    Failure::wrong(&said, hint)
}

/// The command that the words name, as far as they name one.
fn find<'a>(root: &'a Command, words: &[String]) -> (String, &'a Command) {
    let mut path = root.get_name().to_owned();
    let mut command = root;
    for word in words {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
            path = format!("{path} {}", found.get_name());
        }
    }
    (path, command)
}

/// The first example of `path` in the help of these commands.
fn example(path: &str, commands: &[&Command]) -> Option<String> {
    let help = commands.iter().filter_map(|command| command.get_after_help());
    help.flat_map(|help| {
        let lines = help.to_string();
        lines.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    })
    // What it does stands behind some spaces.
    .map(|line| line.split("  ").next().unwrap_or_default().to_owned())
    .find(|line| line.strip_prefix(path).is_some_and(|rest| rest.starts_with(' ')))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{super::args::Args, *};

    #[test]
    fn the_hint_is_an_example_of_the_command_that_was_meant() {
        let mut root = Args::command();
        root.build();
        let meant = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (path, command) = find(&root, &words);
            (path.clone(), example(&path, &[command, &root]))
        };
        let some = |path: &str, example: &str| (path.to_owned(), Some(example.to_owned()));
        assert_eq!(meant("run --config"), some("mqlb run", "mqlb run -c /etc/mqlb/mqlb.yaml"));
        assert_eq!(
            meant("--json backend ls x y").0,
            "mqlb backend list",
            "an alias is the command it stands for"
        );
        assert_eq!(
            meant("explain foo bar"),
            some("mqlb explain", "mqlb explain 198.51.100.7:40000 192.0.2.10:1883")
        );
        assert_eq!(meant("detach now"), ("mqlb detach".to_owned(), None));
    }
}
