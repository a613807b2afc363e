//! iceoryx2: publish-subscribe, a service for each direction, memory lent by the publisher.
//!
//! A contender as bench.hpp describes them: its command line, payload, loops and result, in Rust. As its
//! documentation advises for speed: `loan_slice_uninit`, filled in place and sent without a copy, read in
//! place; the receiver polls (iceoryx2 waits through a listener and a notifier of their own, which would be
//! a second message for each). The queue has as many messages as fit in --capacity, at most 1,024, and a publisher
//! waits when it is full. Only --wait spin. --touch ends: the first and last word are written and checked.

use core::error::Error;
use core::mem::MaybeUninit;
use core::time::Duration;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use iceoryx2::service::port_factory::PortFactory as _;
use std::time::Instant;

type Failure = Box<dyn Error>;

struct Arguments {
    role: String,
    size: usize,
    count: u64,
    path: String,
    capacity: usize,
    align: usize,
    ends_only: bool,
}

fn parse() -> Result<Arguments, Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let role = words.first().ok_or("the role is missing")?.clone();
    let mut arguments = Arguments { role, size: 64, count: 1000, path: String::new(), capacity: 1 << 20, align: 16, ends_only: false };
    for pair in words[1..].chunks(2) {
        let value = pair.get(1).ok_or("a value is missing")?;
        match pair[0].as_str() {
            "--size" => arguments.size = value.parse()?,
            "--count" => arguments.count = value.parse()?,
            "--path" => arguments.path = value.clone(),
            "--capacity" => arguments.capacity = value.parse()?,
            "--align" => arguments.align = value.parse()?,
            "--touch" => arguments.ends_only = value == "ends",
            "--wait" if value != "spin" => return Err("this contender only spins".into()),
            "--batch" if value != "1" => return Err("this contender has no batches".into()),
            "--wait" | "--batch" | "--variant" => {}
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    if arguments.path.is_empty() || arguments.size < 64 || arguments.size % 64 != 0 {
        return Err("--path is missing, or --size is not a multiple of 64".into());
    }
    Ok(arguments)
}

/// The message: a fixed pattern with its number in the first and, multiplied, in the last word.
struct Payload {
    words: Vec<u64>,
    base: u64,
    ends_only: bool,
}

const ODD: u64 = 0xd134_2543_de82_ef95;

impl Payload {
    fn new(arguments: &Arguments) -> Self {
        let many = arguments.size / 8;
        let mut words: Vec<u64> = (1..=many as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        words[0] = 0;
        words[many - 1] = 0;
        let base = words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
        Self { words, base, ends_only: arguments.ends_only }
    }

    fn stamp(&mut self, number: u64) {
        let last = self.words.len() - 1;
        self.words[0] = number;
        self.words[last] = number.wrapping_mul(ODD);
    }

    fn write_into(&self, to: &mut [MaybeUninit<u64>]) {
        let last = self.words.len() - 1;
        if self.ends_only {
            to[0].write(self.words[0]);
            to[last].write(self.words[last]);
        } else {
            // Both are `last + 1` words long; the lent memory is not initialised.
            unsafe { core::ptr::copy_nonoverlapping(self.words.as_ptr(), to.as_mut_ptr().cast(), last + 1) };
        }
    }

    /// 1 if this is not message `number`.
    fn wrong(&self, data: &[u64], number: u64) -> u64 {
        let multiplied = number.wrapping_mul(ODD);
        if data.len() != self.words.len() {
            return 1;
        }
        if self.ends_only {
            return (data[0] != number || data[data.len() - 1] != multiplied) as u64;
        }
        let sum = data.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
        (sum != self.base.wrapping_add(number).wrapping_add(multiplied)) as u64
    }
}

fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        BEGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// User and system time of all threads of this process.
fn cpu_seconds() -> f64 {
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + 1e-6 * time.tv_usec as f64;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

const POINTS: [(&str, f64); 16] = [
    ("min", 0.0), ("p1", 0.01), ("p10", 0.10), ("p25", 0.25), ("p50", 0.50), ("p75", 0.75), ("p90", 0.90), ("p95", 0.95),
    ("p98", 0.98), ("p99", 0.99), ("p99.5", 0.995), ("p99.8", 0.998), ("p99.9", 0.999), ("p99.95", 0.9995), ("p99.99", 0.9999),
    ("max", 1.0),
];

type Service = ipc::Service;
type Factory = PortFactory<Service, [u64], ()>;

struct Topics {
    publisher: Publisher<Service, [u64], ()>,
    subscriber: Subscriber<Service, [u64], ()>,
    out: Factory,
    words: usize,
}

impl Topics {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let accepts = arguments.role == "pong" || arguments.role == "receive";
        // Everything is named after the run's directory, so that nothing stays behind however a run ends.
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(format!("{}/iceoryx2", arguments.path).as_bytes())?);
        config.global.prefix = FileName::new(arguments.path.replace('/', "_").as_bytes())?;
        let node = NodeBuilder::new().config(&config).create::<Service>()?;
        let most = (arguments.capacity / arguments.size).clamp(4, 1024);
        let service = |name: &str| -> Result<Factory, Failure> {
            Ok(node
                .service_builder(&name.try_into()?)
                .publish_subscribe::<[u64]>()
                .payload_alignment(Alignment::new(arguments.align.max(8)).ok_or("--align")?)
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(most)
                .max_publishers(1)
                .max_subscribers(1)
                .open_or_create()?)
        };
        let (forth, back) = (service("forth")?, service("back")?);
        let (out, into) = if accepts { (back, forth) } else { (forth, back) };
        let subscriber = into.subscriber_builder().buffer_size(most).create()?;
        let publisher = out
            .publisher_builder()
            .initial_max_slice_len(arguments.size / 8)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        if accepts {
            println!("{{\"ready\": true}}");
        }
        // The node must outlive the services; both end with the process.
        core::mem::forget(node);
        let topics = Self { publisher, subscriber, out, words: arguments.size / 8 };
        topics.greet(accepts, &Payload::new(arguments))?;
        Ok(topics)
    }

    /// A message there and one back: until a reader has opened a connection, what does not fit is thrown away.
    fn greet(&self, accepts: bool, hello: &Payload) -> Result<(), Failure> {
        if accepts {
            self.receive(|_| ())?;
        }
        self.send(hello)?;
        if !accepts {
            self.receive(|_| ())?;
        }
        Ok(())
    }

    fn send(&self, payload: &Payload) -> Result<(), Failure> {
        let mut sample = self.publisher.loan_slice_uninit(self.words)?;
        payload.write_into(sample.payload_mut());
        match unsafe { sample.assume_init() }.send()? {
            1 => Ok(()),
            other => Err(format!("a message went to {other} readers").into()),
        }
    }

    fn receive(&self, mut check: impl FnMut(&[u64])) -> Result<(), Failure> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                check(sample.payload());
                return Ok(());
            }
            core::hint::spin_loop();
        }
    }

    /// What was sent goes with its publisher: waits until the reader has left.
    fn wait_for_reader_to_leave(&self) {
        while self.out.dynamic_config().number_of_subscribers() > 0 {
            std::thread::yield_now();
        }
    }
}

fn ping(topics: &Topics, arguments: &Arguments) -> Result<(), Failure> {
    let (mut payload, expected) = (Payload::new(arguments), Payload::new(arguments));
    let warm_up = arguments.count / 10;
    let mut samples: Vec<u32> = Vec::with_capacity(arguments.count as usize);
    let (mut errors, mut number) = (0u64, 0u64);
    let mut round_trip = || -> Result<(), Failure> {
        payload.stamp(number);
        topics.send(&payload)?;
        topics.receive(|data| errors += expected.wrong(data, number))?;
        number += 1;
        Ok(())
    };
    for _ in 0..warm_up {
        round_trip()?;
    }
    let cpu = cpu_seconds();
    let (begin, first) = (Instant::now(), ticks());
    let mut before = first;
    for _ in 0..arguments.count {
        round_trip()?;
        let now = ticks();
        samples.push((now - before).min(u32::MAX as u64) as u32);
        before = now;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let ns_per_tick = 1e9 * seconds / (ticks() - first) as f64;
    let used = cpu_seconds() - cpu;
    samples.sort_unstable();
    let points: String = POINTS
        .iter()
        .map(|(name, part)| {
            let at = (part * (samples.len() - 1) as f64) as usize;
            format!(", \"{name}\": {:.1}", samples[at] as f64 * ns_per_tick / 2.0)
        })
        .collect();
    println!("{{\"count\": {}, \"errors\": {errors}, \"seconds\": {seconds:.6}, \"cpu_seconds\": {used:.6}{points}}}", arguments.count);
    Ok(())
}

fn pong(topics: &Topics, arguments: &Arguments) -> Result<(), Failure> {
    let (mut payload, expected) = (Payload::new(arguments), Payload::new(arguments));
    let warm_up = arguments.count / 10;
    let (mut errors, mut cpu) = (0u64, 0.0);
    for number in 0..arguments.count + warm_up {
        if number == warm_up {
            cpu = cpu_seconds();
        }
        topics.receive(|data| errors += expected.wrong(data, number))?;
        payload.stamp(number);
        topics.send(&payload)?;
    }
    println!("{{\"count\": {}, \"errors\": {errors}, \"cpu_seconds\": {:.6}}}", arguments.count, cpu_seconds() - cpu);
    topics.wait_for_reader_to_leave();
    Ok(())
}

fn send(topics: &Topics, arguments: &Arguments) -> Result<(), Failure> {
    let mut payload = Payload::new(arguments);
    let cpu = cpu_seconds();
    for number in 0..arguments.count {
        payload.stamp(number);
        topics.send(&payload)?;
    }
    println!("{{\"count\": {}, \"cpu_seconds\": {:.6}}}", arguments.count, cpu_seconds() - cpu);
    topics.wait_for_reader_to_leave();
    Ok(())
}

/// The time runs from the first message received to the last one checked.
fn receive(topics: &Topics, arguments: &Arguments) -> Result<(), Failure> {
    let expected = Payload::new(arguments);
    let mut errors = 0;
    topics.receive(|data| errors += expected.wrong(data, 0))?;
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    for number in 1..arguments.count {
        topics.receive(|data| errors += expected.wrong(data, number))?;
    }
    let seconds = begin.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    println!(
        "{{\"count\": {}, \"errors\": {errors}, \"seconds\": {seconds:.6}, \"cpu_seconds\": {:.6}, \"rate\": {:.1}}}",
        arguments.count,
        cpu_seconds() - cpu,
        (arguments.count - 1) as f64 / seconds
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    set_log_level(LogLevel::Error);
    let arguments = parse()?;
    let topics = Topics::new(&arguments)?;
    match arguments.role.as_str() {
        "ping" => ping(&topics, &arguments),
        "pong" => pong(&topics, &arguments),
        "send" => send(&topics, &arguments),
        "receive" => receive(&topics, &arguments),
        other => Err(format!("role {other} is not known").into()),
    }
}
