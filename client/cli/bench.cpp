// atoll bench: measures this machine: latency and rate between two processes, for records of several sizes.
//
// The command forks before it connects; each half then has a connection of its own. This one (the user's)
// gives orders to the other over a socket, takes the times and prints. Each size has two streams, ping and pong,
// removed when it is done: by this half however it ends, by the other one if this one was killed. Every record
// carries its number at both ends, and who receives it sums all its words. Everything that waits comes back after
// kPatience and looks whether the user, the time limit or the other half's end asks to stop.
#include <unistd.h>

#include <charconv>
#include <memory>
#include <vector>

#include "bench/cpus.hpp"
#include "bench/measure.hpp"
#include "bench/other_half.hpp"
#include "bench/show.hpp"
#include "broker.hpp"
#include "exit_status.hpp"
#include "report.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

constexpr std::uint64_t kSmallest = 8, kLargest = 256u << 20;  // bytes of a record
constexpr const char* kEverySize[] = {"64", "1KiB", "64KiB", "1MiB"};

struct BenchOptions {
  std::vector<std::string> sizes;
  double seconds = 10;
  std::optional<bench::Cpus> cpus;
};

// Errors that say "not with this size", not "not at all".
bool is_of_this_size(Errc code) {
  return code == Errc::no_space || code == Errc::limit_reached || code == Errc::too_large || code == Errc::invalid_geometry;
}

Result<int> run_bench(const Context& context, const BenchOptions& options) {
  const TimeLimit limit(context);
  if (options.cpus)
    if (const auto possible = bench::check_cpus(*options.cpus); !possible) return tl::unexpected(possible.error());
  auto other = bench::OtherHalf::start(context);  // before there is a connection: it does not survive a fork
  if (!other) return tl::unexpected(other.error());
  auto client = connect(context, limit);  // before pinning: the broker may run where it likes
  if (!client) return tl::unexpected(client.error());
  if (options.cpus)
    if (const auto pinned = bench::pin_to((*options.cpus)[0]); !pinned) return tl::unexpected(pinned.error());

  const std::string name = "atoll-bench/" + std::to_string(::getpid());
  if (const auto begun = other->order({{"do", "begin"}, {"name", name}, {"cpu", options.cpus ? (*options.cpus)[1] : -1}}); !begun)
    return tl::unexpected(begun.error());

  const std::size_t measurements = options.sizes.size() * 4;
  const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(options.seconds / static_cast<double>(measurements)));
  Progress progress(true);
  std::size_t done = 0;
  std::vector<bench::Figures> all;
  std::vector<bench::LeftOut> left_out;
  bench::Measurement measurement(*client, *other, limit, name);
  for (std::size_t i = 0; i < options.sizes.size(); ++i) {
    const bench::Geometry geometry(*parse_size(options.sizes[i]));
    auto figures = measurement.measure(geometry, time, [&](const char* what) {
      progress.update([&] { return "measurement " + std::to_string(done + 1) + " of " + std::to_string(measurements) + ": " + size_for_people(geometry.size) + ", " + what; });
      ++done;
    });
    if (figures) {
      all.push_back(std::move(*figures));
    } else if (is_of_this_size(figures.error().code())) {
      left_out.push_back({geometry.size, figures.error()});
      done = 4 * (i + 1);
    } else {
      return tl::unexpected(figures.error());
    }
  }
  progress.wipe();
  if (all.empty()) return tl::unexpected(left_out.front().reason);
  if (context.json)
    bench::show_json(options.seconds, options.cpus, all, left_out);
  else
    bench::show(all, left_out, options.cpus.has_value());
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& command = add_command(
      app, context, "bench",
      "Measure this machine: latency and rate of streams between two processes. Takes about ten seconds. One way is half a round trip; spinning: the "
      "receivers ask again and again, blocking: they wait as programs do. Rates are of send and receive one by one, and of send_many and receive_many. "
      "Every record is written and read as a whole. A dash means that there were too few round trips to tell. Its streams, atoll-bench/..., are "
      "removed in the end. A size for which there is no memory is left out, and named.",
      "atoll bench\n"
      "atoll bench --size 64 --size 4KiB --seconds 4\n"
      "atoll bench --cpu 0,1\n"
      "atoll bench --json | jq '.sizes[] | [.size, .latency.spinning.p50_ns]'\n");
  command.add_option("--size", options->sizes, "of the records, from 8 to 256MiB; may be repeated (default: 64, 1KiB, 64KiB and 1MiB)")
      ->type_name("SIZE")
      ->expected(1)
      ->take_all()
      ->check([](const std::string& text) -> std::string {
        const auto size = parse_size(text);
        return size && *size >= kSmallest && *size <= kLargest ? "" : "'" + text + "' is no size from 8 to 256MiB (64, 4KiB, 1MiB)";
      });
  command
      .add_option_function<std::string>(
          "--seconds",
          [options](const std::string& text) {
            const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), options->seconds);
            if (problem != std::errc{} || end != text.data() + text.size() || !(options->seconds >= 0.1 && options->seconds <= 3600))
              throw CLI::ValidationError("--seconds", "'" + text + "' is no number of seconds from 0.1 to 3600");
          },
          "measure this long altogether (default: 10)")
      ->type_name("SECONDS");
  command
      .add_option_function<std::string>(
          "--cpu",
          [options](const std::string& text) {
            options->cpus = bench::parse_cpus(text);
            if (!options->cpus) throw CLI::ValidationError("--cpu", "'" + text + "' is not two numbers of CPUs (0,1)");
          },
          "run one process on CPU A and the other on B, which may be the same (default: where the kernel puts them)")
      ->type_name("A,B");
  command.callback([&context, options] {
    if (options->sizes.empty()) options->sizes.assign(std::begin(kEverySize), std::end(kEverySize));
    context.run = [&context, options] { return run_bench(context, *options); };
  });
}

}  // namespace atoll_ipc::cli
