//! Trouble: the leader's daemon killed where the web server runs, and a host without power, with traffic running through it all.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rcon_lab::Lab;

use super::Step;
use super::story::{IMAGE, Story};

/// How long a cluster may take to be whole again.
const WHOLE_AGAIN: Duration = Duration::from_secs(30);
/// How long a write may take without the leader before the step fails; a second is what is aimed at.
const NEXT_WRITE: Duration = Duration::from_secs(10);
/// Ten lines come a second; a silence as long as this means that the stream is broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);
/// Lookups of the container on h2: one line each.
const LOOKUPS: &str = "while :; do nslookup web >/dev/null 2>&1 && echo found || echo lost; sleep 0.1; done";

/// The leader's daemon dies.
pub const LEADER: &[Step] = &[
    Step {
        title: "leadership moved to h2",
        about: "To the host with the web server, so that the next step hits both at once.",
        run: move_leader,
    },
    Step {
        title: "rcond of the leader killed, traffic and cluster go on",
        about: "A stream from h2 to h3 and name lookups on h2 run meanwhile. Containers, tunnel and names are processes of their own; the other managers choose a new leader.",
        run: kill_leader,
    },
    Step {
        title: "rcond is back",
        about: "It finds its containers running, catches up with the log and follows the new leader.",
        run: come_back,
    },
];

/// A host loses power.
pub const POWER: &[Step] = &[
    Step {
        title: "h1 powered off and on",
        about: "Every process of it is gone at once. The cluster says so, goes on, and takes it back.",
        run: power,
    },
    Step { title: "node ls is whole again", about: "As every host sees it; and the stream has run all the time.", run: whole },
];

/// A stream and lookups that have been running since before the trouble.
pub struct Watch {
    stream: Child,
    lines: Arc<Mutex<Lines>>,
}

/// When lines of the stream came.
struct Lines {
    count: u64,
    last: Instant,
    longest_silence: Duration,
}

fn move_leader(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.on("h1", "rconctl node transfer-leader h2")?;
    story.eventually("h2 leads", WHOLE_AGAIN, || {
        let nodes = story.nodes("h3")?;
        ensure!(nodes.iter().any(|[name, _, manager]| name == "h2" && manager == "Leader"), "{nodes:?}");
        Ok(())
    })?;
    story.on("h3", "rconctl node ls")?;
    Ok("h2 leads and h3 knows it".into())
}

fn kill_leader(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.on("h2", &format!("rconctl run -d --name asker --network backend {IMAGE} sh -c '{LOOKUPS}'"))?;
    let watch = story.watch.insert(Watch::begin(story.lab)?);
    watch.wait_for_lines(10)?;
    story.lab_command("kill h2", |lab| lab.kill("h2", None).map(drop))?;
    let killed = Instant::now();
    let create = "rconctl network create --driver overlay --attachable written-without-a-leader";
    story.eventually("the next write is accepted", NEXT_WRITE, || story.on("h1", create).map(drop))?;
    let accepted = killed.elapsed();
    let watch = story.watch.as_ref().context("the stream is not watched")?;
    let silence = watch.wait_for_lines(20)?;
    Ok(format!("next write accepted after {} ms; the longest silence of the stream was {} ms", accepted.as_millis(), silence.as_millis()))
}

fn come_back(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.lab_command("start h2", |lab| lab.start("h2"))?;
    story.wait_until_whole("h2", WHOLE_AGAIN)?;
    story.on("h2", "rconctl ps")?;
    let answers = story.quietly("h2", "rconctl logs asker")?;
    let (found, lost) = (answers.lines().filter(|line| *line == "found").count(), answers.lines().filter(|line| *line == "lost").count());
    ensure!(found > 20 && lost == 0, "{found} lookups were answered and {lost} were not");
    Ok(format!("the same containers run, and all {found} lookups were answered"))
}

fn power(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.lab_command("off h1", |lab| lab.off("h1"))?;
    story.eventually("h1 is said to be down", WHOLE_AGAIN, || {
        let nodes = story.nodes("h3")?;
        ensure!(nodes.iter().any(|[name, status, _]| name == "h1" && status == "Down"), "{nodes:?}");
        Ok(())
    })?;
    story.on("h3", "rconctl node ls")?;
    story.on("h3", "rconctl network create --driver overlay --attachable written-without-h1")?;
    story.lab_command("on h1", |lab| lab.on("h1"))?;
    story.wait_until_whole("h1", WHOLE_AGAIN)?;
    let networks = story.rows("h1", "rconctl network ls")?;
    ensure!(networks.iter().any(|network| network["Name"] == "written-without-h1"), "h1 has not caught up: {networks:?}");
    Ok("h1 was missed, came back, and knows what was written without it".into())
}

fn whole(story: &mut Story<'_>) -> anyhow::Result<String> {
    for host in ["h1", "h2", "h3"] {
        story.wait_until_whole(host, WHOLE_AGAIN)?;
    }
    story.on("h1", "rconctl node ls")?;
    let silence = story.watch.take().context("the stream is not watched")?.wait_for_lines(5)?;
    Ok(format!("three nodes, ready; the longest silence of the stream was {} ms", silence.as_millis()))
}

impl Watch {
    /// Reads the web server's endless page from a container on h3.
    fn begin(lab: &Lab) -> anyhow::Result<Self> {
        // The request's end must not be the connection's: hence the sleep.
        let client = "(printf 'GET /cgi-bin/ticks HTTP/1.0\\r\\n\\r\\n'; sleep 100000) | nc web 80";
        let mut command = lab.command("h3", "rconctl")?;
        command.args(["run", "--rm", "--network", "backend", IMAGE, "sh", "-c", client]);
        let mut stream = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = BufReader::new(stream.stdout.take().context("the stream has no output")?);
        let lines = Arc::new(Mutex::new(Lines { count: 0, last: Instant::now(), longest_silence: Duration::ZERO }));
        let noted = Arc::clone(&lines);
        std::thread::spawn(move || {
            for _ in output.lines().map_while(Result::ok).filter(|line| line == "tick") {
                let Ok(mut lines) = noted.lock() else { return };
                if lines.count > 0 {
                    lines.longest_silence = lines.longest_silence.max(lines.last.elapsed());
                }
                (lines.count, lines.last) = (lines.count + 1, Instant::now());
            }
        });
        Ok(Self { stream, lines })
    }

    /// Waits for so many more lines and gives the longest silence there has been; too long a one is a failure.
    fn wait_for_lines(&self, more: u64) -> anyhow::Result<Duration> {
        let look = || self.lines.lock().map(|lines| (lines.count, lines.last.elapsed(), lines.longest_silence));
        let (before, ..) = look().unwrap_or_default();
        rcon_lab::wait::until("the stream goes on", WHOLE_AGAIN, || {
            let (count, silence, _) = look().unwrap_or_default();
            Ok((count >= before + more || (before > 0 && silence > LONGEST_SILENCE)).then_some(()))
        })?;
        let (count, silence, longest) = look().unwrap_or_default();
        let longest = longest.max(silence);
        ensure!(longest <= LONGEST_SILENCE, "the stream was silent for {} ms after {count} lines", longest.as_millis());
        Ok(longest)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The container goes with the lab; this is only its client.
        let _ = self.stream.kill();
        let _ = self.stream.wait();
    }
}
