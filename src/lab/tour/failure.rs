//! A server dies under way: how long customers notice, and that nobody is sent there afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{CROWD, FAIR, Stage, offer_of, spread};
use crate::lab::customer::{self, Attempt, Visit};
use crate::lab::mail::{CHECK_FALL, CHECK_INTERVAL, CHECK_TIMEOUT};
use crate::lab::servers::Kind;

impl Stage<'_> {
    pub(super) async fn stop_a_server(&mut self) -> anyhow::Result<()> {
        // What the balancer's configuration promises: probes at this interval, so many in a row, the last one's end.
        let promise = CHECK_INTERVAL * CHECK_FALL + CHECK_TIMEOUT;
        // The time that the tour itself needs to see it: an attempt every 5 ms.
        let limit = promise + Duration::from_millis(100);
        self.teller.scene("A server dies: pc4's programs are killed under way");
        let visit = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address4()).times(4_000);
        let (stop, client) = (Arc::new(AtomicBool::new(false)), self.client.clone());
        let watching = {
            let stop = stop.clone();
            tokio::spawn(
                async move { client.run(move || customer::watch(visit, Duration::from_millis(5), stop)).await },
            )
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = Instant::now();
        self.lab.server("pc4")?.kill().context("cannot kill pc4's servers")?;
        tokio::time::sleep(limit + Duration::from_secs(2)).await;
        stop.store(true, Ordering::Relaxed);
        let attempts = watching.await??;
        let (before, after): (Vec<_>, Vec<_>) = attempts.iter().partition(|attempt| attempt.started < killed);
        // A conversation that was going on when the server died may fail, none that was over.
        let hit: Vec<_> = before.iter().filter(|attempt| attempt.outcome.is_err()).collect();
        let under_way = hit.iter().all(|attempt| killed - attempt.started < Duration::from_millis(100));
        let failed: Vec<&&Attempt> = after.iter().filter(|attempt| attempt.outcome.is_err()).collect();
        let out_after = failed.last().map_or(Duration::ZERO, |attempt| attempt.started - killed);
        self.teller.claim(
            out_after <= limit && !after.is_empty(),
            &format!(
                "the last new connection failed {:.2} s after the kill (promised: {:.2} s); {} of {} before that failed",
                out_after.as_secs_f32(),
                promise.as_secs_f32(),
                failed.len(),
                after.iter().filter(|attempt| attempt.started - killed <= out_after).count()
            ),
        );
        self.teller.claim(
            under_way && !before.is_empty(),
            &format!("before, {} were served; {} were under way and hit by it", before.len() - hit.len(), hit.len()),
        );
        let crowd = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address6()).times(CROWD);
        let tally = self.visit("without pc4", crowd).await?;
        self.teller.claim(
            tally.of("pc2") == CROWD,
            &format!("then {CROWD} further customers, and pc2 serves them all: {}", spread(&tally)),
        );

        self.lab.start_server("pc4")?;
        let back = Instant::now();
        self.wait_for("pc4").await?;
        self.teller.say(&format!("   pc4 is started again; up after {:.2} s.", back.elapsed().as_secs_f32()));
        let crowd = Visit::new(Kind::Pop3, offer_of(Kind::Pop3)?.address4()).times(CROWD);
        let tally = self.visit("with pc4 again", crowd).await?;
        let fair = ["pc2", "pc4"].iter().all(|server| FAIR.contains(&tally.of(server)));
        self.teller.claim(fair && tally.failed_count() == 0, &format!("and takes its share again: {}", spread(&tally)));
        Ok(())
    }
}
