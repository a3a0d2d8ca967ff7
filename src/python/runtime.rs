//! The tokio runtime behind every Python object, and the only way to wait on it.
//!
//! There is one runtime a process, made when it is first needed. Three moments in an interpreter's life would break a
//! plain static, and are answered here:
//!
//! | moment | what would go wrong | what is done |
//! |---|---|---|
//! | `os.fork()` | the child has none of the runtime's threads, and their locks may be held for ever | the child leaks the old runtime and makes its own; what was made before the fork is a [`Home`] that refuses to be used and forgets what it holds instead of dropping it |
//! | Ctrl-C | Python runs its handler only in a thread that holds the GIL | a wait takes the GIL back every 100 ms to let it run |
//! | exit | a thread that wants the GIL back from a dying interpreter is unwound through Rust's frames, which aborts | an `atexit` hook closes what is open, in bounded time; a thread that comes back after that sleeps for ever, as Python 3.14 itself would have it |

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use super::awaitable::Awaiting;
use super::errors;

/// How long Ctrl-C waits at most.
const TICK: Duration = Duration::from_millis(100);
/// What all that is open may take to close at the interpreter's exit,
const EXIT_CLOSE: Duration = Duration::from_secs(5);
/// and the runtime's blocking threads to end.
const EXIT_THREADS: Duration = Duration::from_secs(1);

/// The runtime of one process. Never freed: a thread may hold a reference to it at any moment.
struct Process {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    open: Registry,
    awaiting: Awaiting,
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());
/// How many forks lie between this process and the one that imported the module.
static FORKS: AtomicU64 = AtomicU64::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);
/// How many threads gave up the GIL here and will want it back.
static OUTSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread ends the interpreter.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// A future without a borrow.
pub(crate) type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What its owner, or the interpreter's exit, closes if nobody has.
pub(crate) trait Close: Send + Sync {
    /// Closes it, in about the time that is given; a second call does nothing.
    fn close(self: Arc<Self>, within: Duration) -> Closing;
    /// Clients end before the brokers they talk to.
    fn is_broker(&self) -> bool {
        false
    }
}

/// What may have to be closed. It keeps nothing alive.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Vec<Weak<dyn Close>>>);

impl Registry {
    /// Adds one.
    pub(crate) fn add(&self, it: &Arc<impl Close + 'static>) {
        let it: Weak<dyn Close> = Arc::downgrade(&(it.clone() as Arc<dyn Close>));
        let mut open = self.0.lock();
        open.retain(|known| known.strong_count() > 0);
        open.push(it);
    }

    /// Closes all of it, clients first; what is not closed in time is left as it is.
    pub(crate) async fn close(&self, within: Duration) {
        let open: Vec<_> = self.0.lock().drain(..).filter_map(|weak| weak.upgrade()).collect();
        let (brokers, clients): (Vec<_>, Vec<_>) = open.into_iter().partition(|open| open.is_broker());
        let end = Instant::now() + within;
        for (them, share) in [(clients, 2), (brokers, 1)] {
            let within = end.saturating_duration_since(Instant::now()) / share;
            let all = futures_util::future::join_all(them.into_iter().map(|it| it.close(within)));
            let _ = tokio::time::timeout(within, all).await;
        }
    }
}

/// Arms the hooks; called once, by the module.
pub(super) fn install(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    let hooks = pyo3::types::PyDict::new(py);
    hooks.set_item("after_in_child", module.getattr("_after_fork")?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    py.import("atexit")?.call_method1("register", (module.getattr("_at_exit")?,))?;
    Ok(())
}

/// In the child of a fork: leaves the parent's runtime where it is.
#[pyfunction]
pub(super) fn _after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    CURRENT.store(std::ptr::null_mut(), Ordering::Release);
    // The forking thread had the GIL, so no other thread of this process is here.
    OUTSIDE.store(0, Ordering::Relaxed);
}

/// At the interpreter's exit: closes what is open, clients before brokers, and ends the runtime.
#[pyfunction]
pub(super) fn _at_exit(py: Python<'_>) {
    ENDS.set(true);
    ENDING.store(true, Ordering::SeqCst);
    let Some(process) = process() else { return };
    py.detach(|| {
        process.handle.block_on(process.open.close(EXIT_CLOSE));
        // Threads that wait here wake within a tick, see that the end is near, and stay outside. Until then they need
        // the runtime.
        let end = Instant::now() + 5 * TICK;
        while OUTSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::yield_now();
        }
        if let Some(runtime) = process.runtime.lock().take() {
            runtime.shutdown_timeout(EXIT_THREADS);
        }
    });
}

fn process() -> Option<&'static Process> {
    let process = CURRENT.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from `Box::leak` in `start`, and nothing ever frees what it points to.
    #[allow(unsafe_code)]
    unsafe {
        process.as_ref()
    }
}

fn start() -> PyResult<&'static Process> {
    let runtime = Builder::new_multi_thread()
        .thread_name("strandline")
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|cause| PyRuntimeError::new_err(format!("strandline cannot start its threads: {cause}")))?;
    let handle = runtime.handle().clone();
    let process: &'static Process = Box::leak(Box::new(Process {
        handle,
        runtime: Mutex::new(Some(runtime)),
        open: Registry::default(),
        awaiting: Awaiting::default(),
    }));
    let new = std::ptr::from_ref(process).cast_mut();
    // Two threads that were first at once: one runtime is used, the other lies idle.
    let _ = CURRENT.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    Ok(self::process().unwrap_or(process))
}

/// This process's runtime, if it has one and will have it for longer: for threads of the runtime, and for drops.
pub(crate) fn running() -> Option<&'static Handle> {
    if ENDING.load(Ordering::Relaxed) { None } else { process().map(|process| &process.handle) }
}

/// This process's runtime, made if there is none. Called with the GIL.
pub(crate) fn handle() -> PyResult<&'static Handle> {
    if ENDING.load(Ordering::Relaxed) {
        sleep_if_ending();
        return Err(PyRuntimeError::new_err("the interpreter is ending: strandline does nothing more"));
    }
    match process() {
        Some(process) => Ok(&process.handle),
        None => start().map(|process| &process.handle),
    }
}

/// What this process's event loops wait for.
pub(crate) fn awaiting() -> PyResult<&'static Awaiting> {
    handle()?;
    let started = process().ok_or_else(|| PyRuntimeError::new_err("strandline was not started"))?;
    Ok(&started.awaiting)
}

/// Has the interpreter's exit close `it`, if it still lives then.
pub(crate) fn close_at_exit(it: &Arc<impl Close + 'static>) -> PyResult<()> {
    handle()?;
    if let Some(process) = process() {
        process.open.add(it);
    }
    Ok(())
}

/// Closes what nobody holds any more, behind the back of whoever dropped it.
pub(crate) fn close_behind(it: Arc<impl Close + 'static>, within: Duration) {
    // Without a runtime the interpreter is ending, and has closed it.
    if let Some(handle) = running() {
        handle.spawn(it.close(within));
    }
}

/// Near the interpreter's end a thread that is still at work finds everything closed. It would tell stderr of that, and
/// can do nothing about it: it sleeps instead. The thread that ends the interpreter does not, and neither do the runtime's
/// own, which close what is open.
pub(crate) fn sleep_if_ending() {
    if ENDING.load(Ordering::Relaxed) && !ENDS.get() && Handle::try_current().is_err() {
        Python::attach(|py| {
            py.detach(|| {
                loop {
                    std::thread::park();
                }
            })
        })
    }
}

/// Runs `f` without the GIL; nothing that may wait or take long runs with it.
pub(crate) fn outside<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    OUTSIDE.fetch_add(1, Ordering::SeqCst);
    let result = py.detach(|| {
        let result = f();
        if ENDING.load(Ordering::SeqCst) {
            // Taking the GIL now may end this thread from within: see the top of this file.
            OUTSIDE.fetch_sub(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        result
    });
    OUTSIDE.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Waits for a future without the GIL; Ctrl-C, and what else Python's signal handlers raise, ends the wait and drops it.
pub(crate) fn wait<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let handle = handle()?;
    let mut future = Some(Box::pin(future));
    loop {
        let tick = || {
            let output = handle.block_on(async {
                let future = future.as_mut()?;
                tokio::time::timeout(TICK, future.as_mut()).await.ok()
            });
            if ENDING.load(Ordering::SeqCst) {
                // This thread will not come back, and what it holds is wanted by those who close things.
                future = None;
            }
            output
        };
        match outside(py, tick) {
            Some(output) => return Ok(output),
            None => py.check_signals()?,
        }
    }
}

/// Takes step after step without the GIL until one gives a result. A step is told for how long it may work or wait; Ctrl-C
/// ends it all between two of them.
pub(crate) fn step_by_step<T: Send>(py: Python<'_>, mut step: impl FnMut(Duration) -> Option<T> + Send) -> PyResult<T> {
    handle()?;
    loop {
        match outside(py, || step(TICK)) {
            Some(result) => return Ok(result),
            None => py.check_signals()?,
        }
    }
}

/// What goes on beside the thread that waits for it.
pub(crate) type Apart<T> = tokio::task::JoinHandle<T>;

/// Lets `f`, which may wait without looking up, run on a thread of its own.
pub(crate) fn apart<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> PyResult<Apart<T>> {
    Ok(handle()?.spawn_blocking(f))
}

/// Waits for what was set [`apart`], as [`wait`] does. When Ctrl-C ends the wait, it goes on by itself.
pub(crate) fn join<T: Send>(py: Python<'_>, work: &mut Apart<T>) -> PyResult<T> {
    wait(py, work)?.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => PyRuntimeError::new_err("the interpreter ends"),
    })
}

/// As [`wait`], for at most `timeout`; `None` when that ran out.
pub(crate) fn wait_for<F>(py: Python<'_>, future: F, timeout: Option<Duration>) -> PyResult<Option<F::Output>>
where
    F: Future + Send,
    F::Output: Send,
{
    match timeout {
        None => wait(py, future).map(Some),
        Some(timeout) => wait(py, async { tokio::time::timeout(timeout, future).await.ok() }),
    }
}

/// A value that lives in the process that made it, and not in its forked children.
pub(crate) struct Home<T> {
    value: Option<T>,
    forks: u64,
    what: &'static str,
}

impl<T> Home<T> {
    /// A value of this process; `what` names it in the error ("producer").
    pub(crate) fn new(what: &'static str, value: T) -> Home<T> {
        Home { value: Some(value), forks: FORKS.load(Ordering::Relaxed), what }
    }

    /// The value.
    ///
    /// # Errors
    /// `ForkedError` in a child of the process that made it.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.forks == FORKS.load(Ordering::Relaxed) => Ok(value),
            _ => Err(errors::forked(self.what)),
        }
    }
}

impl<T> Home<T> {
    /// The value, in a forked child too: for what is only read there.
    #[inline]
    pub(crate) fn anywhere(&self) -> &T {
        // It is taken only by the drop.
        self.value.as_ref().unwrap_or_else(|| unreachable!("a {} after its end", self.what))
    }
}

impl<T> Drop for Home<T> {
    fn drop(&mut self) {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            // Its locks may be held by threads that this process does not have, and its files are the parent's.
            std::mem::forget(self.value.take());
        }
    }
}
