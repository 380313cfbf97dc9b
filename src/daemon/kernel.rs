//! Where the daemon asks and orders the kernel's network: threads apart from those that serve.
//!
//! Writing a netlink request carries it out, under the kernel's RTNL lock: for as long as somebody else holds that, which
//! is seconds while network namespaces are being removed, the writing thread stands still, and with it whatever else a
//! runtime has put on it. So netlink has a runtime of its own. Others wait for its answers without a thread, and those who
//! need none (the API, the loop with the verdicts of probes) do not notice.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio::task::JoinHandle;

/// Ends what runs there when dropped, without waiting for it.
pub struct KernelSide {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl KernelSide {
    /// In the network namespace of the calling thread.
    pub fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lbd-netlink")
            .enable_all()
            .build()
            .map(|runtime| Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// While the guard is there, netlink sockets that are opened belong here.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(task)
    }
}

impl Drop for KernelSide {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
