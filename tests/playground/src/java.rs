//! Command lines of RocketMQ's JVMs, and the files they want to find at home.
//!
//! Only flags that an operator may keep in production are used, so that what is measured here can be had
//! there:
//! - the serial collector, right for heaps as small as these (the JVM itself takes it on one core);
//! - `-Dtls.server.mode=disabled`: without it the broker makes a self-signed key at every start, 1.4–1.9 s
//!   (seen), and nobody speaks TLS here;
//! - `--add-opens` on Java 9+: 4.9's shutdown hook dies without them, and the *next* start with it (seen);
//! - no performance-data file and an own temporary folder: a SIGKILLed JVM leaves both kinds of file behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::ProcessSpec;
use crate::rocketmq::{Generation, RocketMq};
use crate::toolchain::Java;

/// What a JVM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `NamesrvStartup`.
    NameServer,
    /// `BrokerStartup`.
    Broker,
}

impl Program {
    fn main_class(self) -> &'static str {
        match self {
            Self::NameServer => "org.apache.rocketmq.namesrv.NamesrvStartup",
            Self::Broker => "org.apache.rocketmq.broker.BrokerStartup",
        }
    }

    /// Name servers took 130–170 MiB, brokers 240–370 MiB resident with these heaps (seen).
    fn heap(self) -> &'static [&'static str] {
        match self {
            Self::NameServer => &["-Xms64m", "-Xmx128m", "-Xmn32m"],
            Self::Broker => &[
                "-Xms256m",
                "-Xmx512m",
                "-Xmn128m",
                "-XX:MaxDirectMemorySize=256m",
            ],
        }
    }

    fn logback_file(self) -> &'static str {
        match self {
            Self::NameServer => "logback_namesrv.xml",
            Self::Broker => "logback_broker.xml",
        }
    }
}

/// A Java with RocketMQ's jars.
#[derive(Debug, Clone)]
pub struct Jvm {
    /// The virtual machine.
    pub java: Java,
    /// The jars.
    pub rocketmq: RocketMq,
}

impl Jvm {
    /// Prepares `home` (logging configuration, temporary folder) and gives the whole command line that
    /// runs `program` there with the configuration file `conf`. The first element is the java program.
    ///
    /// # Errors
    /// When the files in `home` cannot be written.
    pub fn command_line(
        &self,
        program: Program,
        home: &Path,
        conf: &Path,
    ) -> Result<Vec<OsString>> {
        let logback = self.furnish(program, home)?;
        let mut line: Vec<OsString> = vec![self.java.program.clone().into()];
        line.extend(program.heap().iter().map(OsString::from));
        line.extend(self.common_flags().iter().map(OsString::from));
        line.extend([
            define("rocketmq.home.dir", home),
            define("user.home", home),
            define("java.io.tmpdir", &home.join("tmp")),
            define("rmq.logback.configurationFile", &logback),
            // Nobody is asked for name servers by HTTP unless a test wants it (facts §7).
            "-Drocketmq.namesrv.domain=127.0.0.1:1".into(),
        ]);
        let mut classpath = self.rocketmq.jars.clone().into_os_string();
        classpath.push("/*");
        line.extend(["-cp".into(), classpath, program.main_class().into()]);
        line.extend(["-c".into(), conf.as_os_str().to_owned()]);
        Ok(line)
    }

    /// The same as a process to start. Output goes to `home/out`.
    ///
    /// # Errors
    /// When the files in `home` cannot be written.
    pub fn process(
        &self,
        name: &str,
        program: Program,
        home: &Path,
        conf: &Path,
    ) -> Result<ProcessSpec> {
        let line = self.command_line(program, home, conf)?;
        let spec = ProcessSpec::new(name, &self.java.program, home, home.join("out"));
        Ok(spec.arguments(line.into_iter().skip(1)))
    }

    fn common_flags(&self) -> Vec<&'static str> {
        let mut flags = vec![
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Dtls.server.mode=disabled",
        ];
        if self.java.major >= 9 {
            flags.extend([
                "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
                "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
                "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
            ]);
        }
        flags
    }

    fn furnish(&self, program: Program, home: &Path) -> Result<PathBuf> {
        for folder in ["conf", "logs", "tmp"] {
            let folder = home.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("create folder {}", folder.display()))?;
        }
        // 4.9 looks for exactly this file under its home; 5.x is told its name.
        let logback = home.join("conf").join(program.logback_file());
        let log = home.join("logs/rocketmq.log");
        std::fs::write(
            &logback,
            logback_text(self.rocketmq.version.generation(), &log),
        )
        .with_context(|| format!("write {}", logback.display()))?;
        Ok(logback)
    }
}

/// Warnings and worse, in one file.
fn logback_text(generation: Generation, log: &Path) -> String {
    // 5.x carries its own copy of logback under another package name.
    let package = match generation {
        Generation::Four => "ch.qos.logback.core",
        Generation::Five => "org.apache.rocketmq.logging.ch.qos.logback.core",
    };
    format!(
        r#"<configuration>
  <statusListener class="{package}.status.NopStatusListener"/>
  <appender name="FILE" class="{package}.FileAppender">
    <file>{}</file>
    <encoder><pattern>%d %p %logger - %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="FILE"/></root>
</configuration>
"#,
        log.display()
    )
}

fn define(name: &str, value: &Path) -> OsString {
    let mut flag = OsString::from(format!("-D{name}="));
    flag.push(value);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocketmq::Version;
    use crate::run_dir::{Afterwards, RunDir};

    fn line(major: u32) -> Vec<String> {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let jvm = Jvm {
            java: Java {
                program: "/usr/bin/java".into(),
                major,
            },
            rocketmq: RocketMq {
                version: Version::V4_9_7,
                jars: "/jars".into(),
            },
        };
        jvm.command_line(Program::Broker, run.path(), Path::new("/c/broker.conf"))
            .unwrap()
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_line_starts_with_java_and_ends_with_the_conf() {
        let line = line(17);
        assert_eq!(line[0], "/usr/bin/java");
        assert_eq!(line[line.len() - 2..], ["-c", "/c/broker.conf"]);
        assert!(line.contains(&"/jars/*".to_owned()));
    }

    #[test]
    fn java_8_is_not_told_about_modules() {
        assert!(line(17).iter().any(|word| word.starts_with("--add-opens")));
        assert!(!line(8).iter().any(|word| word.starts_with("--add-")));
    }
}
