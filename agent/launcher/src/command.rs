//! The broker's command line: what the user gave after `--`, with the order's conf and JVM options put in.
//!
//! | command | conf | JVM options |
//! |---|---|---|
//! | `mqbroker …`, `sh mqbroker …`, any script | replaces what follows `-c` / `--configFile`, else `-c CONF` is appended | appended to `JAVA_OPT_EXT` (the stock scripts put it last, so it wins: facts §6.1) |
//! | `java …` | the same | right after `java` |
//! | `sh -c '…'` | the text must use `$ROCKETMQ_HA_CONF` | `JAVA_OPT_EXT` |
//!
//! The command must stay in the foreground: the broker's life ends with the command's first process.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The environment variable through which a command line in a shell's text gets the conf.
pub const CONF_ENV: &str = "ROCKETMQ_HA_CONF";

/// The environment variable that the stock scripts append to the JVM's options.
const JAVA_OPT_EXT: &str = "JAVA_OPT_EXT";

/// Why a command cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing follows `--`.
    #[error(
        "no command after `--`: give the broker's own command there, for instance `-- sh mqbroker`"
    )]
    Empty,
    /// `sh -c` without the variable.
    #[error(
        "the command is a text for a shell that does not mention ${CONF_ENV}: write `-c ${CONF_ENV}` into it, or give the script itself"
    )]
    ShellText,
    /// `-c` is the last word.
    #[error("nothing follows {0} in the broker's command: name a file or leave {0} out")]
    NoConf(String),
}

/// The broker's command as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    words: Vec<OsString>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Java,
    Script,
    ShellText,
}

/// A command ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// What to set in its environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Template {
    /// Takes the words after `--`.
    ///
    /// # Errors
    /// When there is none, or the conf could not be put into it.
    pub fn new(words: Vec<OsString>) -> Result<Self, CommandError> {
        let Some(program) = words.first() else {
            return Err(CommandError::Empty);
        };
        let kind = kind_of(program, &words[1..]);
        if kind == Kind::ShellText && !words.iter().any(|word| contains(word, CONF_ENV)) {
            return Err(CommandError::ShellText);
        }
        if let Some(last) = words.last()
            && kind != Kind::ShellText
            && is_conf_flag(last)
        {
            return Err(CommandError::NoConf(last.to_string_lossy().into_owned()));
        }
        Ok(Self { words, kind })
    }

    /// The command for one start. `java_opt_ext` is that variable's present value.
    #[must_use]
    pub fn ready(
        &self,
        conf: &Path,
        jvm_options: &[String],
        java_opt_ext: Option<&OsStr>,
    ) -> Ready {
        let mut words = match self.kind {
            Kind::Java | Kind::Script => with_conf(&self.words, conf),
            Kind::ShellText => self.words.clone(),
        };
        let mut env = vec![(CONF_ENV.into(), conf.into())];
        match self.kind {
            Kind::Java => {
                words.splice(1..1, jvm_options.iter().map(OsString::from));
            }
            Kind::Script | Kind::ShellText if jvm_options.is_empty() => {}
            Kind::Script | Kind::ShellText => {
                let mut options = java_opt_ext.map(OsStr::to_owned).unwrap_or_default();
                for option in jvm_options {
                    options.push(" ");
                    options.push(option);
                }
                env.push((JAVA_OPT_EXT.into(), options));
            }
        }
        Ready { words, env }
    }
}

fn kind_of(program: &OsStr, arguments: &[OsString]) -> Kind {
    let name = Path::new(program).file_name().unwrap_or(program);
    if name == "java" {
        return Kind::Java;
    }
    let is_shell = ["sh", "bash", "dash", "ash", "ksh", "zsh"]
        .iter()
        .any(|shell| name == *shell);
    let options = arguments
        .iter()
        .take_while(|word| word.as_bytes().starts_with(b"-"));
    let takes_text =
        |word: &OsString| !word.as_bytes().starts_with(b"--") && word.as_bytes().contains(&b'c');
    if is_shell && options.into_iter().any(takes_text) {
        Kind::ShellText
    } else {
        Kind::Script
    }
}

fn with_conf(words: &[OsString], conf: &Path) -> Vec<OsString> {
    let mut out = Vec::with_capacity(words.len() + 2);
    let mut found = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if is_conf_flag(word) {
            found = true;
            out.push(word.clone());
            out.push(conf.into());
            let _replaced = words.next();
        } else if word.as_bytes().starts_with(b"--configFile=") {
            found = true;
            let mut joined = OsString::from("--configFile=");
            joined.push(conf);
            out.push(joined);
        } else {
            out.push(word.clone());
        }
    }
    if !found {
        out.push("-c".into());
        out.push(conf.into());
    }
    out
}

fn is_conf_flag(word: &OsStr) -> bool {
    word == "-c" || word == "--configFile"
}

fn contains(word: &OsStr, part: &str) -> bool {
    word.as_bytes()
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Template, CommandError> {
        Template::new(text.split_whitespace().map(OsString::from).collect())
    }

    fn line(text: &str, options: &[&str], ext: Option<&str>) -> (String, Option<String>) {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let ready = template(text)
            .unwrap()
            .ready(Path::new("/c"), &options, ext.map(OsStr::new));
        assert_eq!(ready.env[0], (CONF_ENV.into(), "/c".into()));
        let words: Vec<String> = ready
            .words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        (
            words.join(" "),
            ready
                .env
                .get(1)
                .map(|(_, value)| value.to_string_lossy().into_owned()),
        )
    }

    #[test]
    fn the_conf_is_replaced_or_appended() {
        assert_eq!(
            line("sh mqbroker", &[], None),
            ("sh mqbroker -c /c".into(), None)
        );
        assert_eq!(
            line("./mqbroker -n a:1 -c old -x", &[], None).0,
            "./mqbroker -n a:1 -c /c -x"
        );
        assert_eq!(
            line("mqbroker --configFile=old", &[], None).0,
            "mqbroker --configFile=/c"
        );
        assert_eq!(
            line("sh -e mqbroker --configFile old", &[], None).0,
            "sh -e mqbroker --configFile /c"
        );
    }

    #[test]
    fn jvm_options_go_where_the_command_takes_them() {
        let (words, ext) = line("mqbroker", &["-Xmx1g", "-Da=b"], Some("-Xmx8g"));
        assert_eq!(words, "mqbroker -c /c");
        assert_eq!(ext.unwrap(), "-Xmx8g -Xmx1g -Da=b");
        let (words, ext) = line("/usr/bin/java -cp x Main -c y", &["-Xmx1g"], None);
        assert_eq!(words, "/usr/bin/java -Xmx1g -cp x Main -c /c");
        assert_eq!(ext, None);
    }

    #[test]
    fn a_shells_text_must_use_the_variable() {
        assert_eq!(
            line("sh -c mqbroker${ROCKETMQ_HA_CONF}", &[], None).0,
            "sh -c mqbroker${ROCKETMQ_HA_CONF}"
        );
        assert_eq!(template("bash -ec mqbroker"), Err(CommandError::ShellText));
        assert_eq!(template(""), Err(CommandError::Empty));
        assert_eq!(
            template("mqbroker -c"),
            Err(CommandError::NoConf("-c".into()))
        );
    }
}
