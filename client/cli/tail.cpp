// atoll tail: looks at a stream's records as an observer. Takes nothing away, holds nothing back.
#include <limits>
#include <memory>

#include "broker.hpp"
#include "exit_status.hpp"
#include "record_writer.hpp"
#include "report.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

struct TailOptions {
  std::string name;
  StartOption from{Start::earliest, 0};
  std::optional<std::uint64_t> count;
  bool follow = false;
  bool raw = false;
  bool wait = false;
};

// The next record. What is already printed is flushed before it waits for one that is not there yet.
Result<View> next_record(Observer& observer, bool wait, const TimeLimit& limit) {
  if (stop_signal() != 0) return fail(Errc::interrupted);
  auto view = observer.receive(Deadline::now());
  if (view || view.error().code() != Errc::timed_out || !wait) return view;
  if (const auto written = output().flush(); !written) return tl::unexpected(written.error());
  return wait_for(limit, [&](Deadline deadline) { return observer.receive(deadline); });
}

Result<int> run_tail(const Context& context, const TailOptions& options) {
  const TimeLimit limit(context);
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  ObserverOptions observer_options;
  observer_options.start = options.from.start;
  observer_options.back = options.from.back;
  auto observer = wait_or_try(options.wait, limit, [&](Deadline wait) {
    observer_options.wait = wait;
    return client->open_observer(options.name, observer_options);
  });
  if (!observer) return tl::unexpected(observer.error());

  const RecordForm form = context.json ? RecordForm::json : options.raw ? RecordForm::raw : RecordForm::lines;
  const bool waits = options.follow || options.count;  // else: what is there now
  const std::uint64_t wanted = options.count ? *options.count : std::numeric_limits<std::uint64_t>::max();
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  int status = kOk;
  while (seen < wanted) {
    auto view = next_record(*observer, waits, limit);
    if (!view) {
      const Error& error = view.error();
      if (error.code() == Errc::lane_damaged) {  // the other lanes go on
        report(error, context.json);
        status = kDamaged;
        continue;
      }
      if (error.code() == Errc::ended && !options.count) break;
      if (error.code() == Errc::timed_out && !waits) break;
      if (options.count && seen > 0 && error.code() != Errc::interrupted)
        return fail(error.code(), std::string(error.message()) + " (after " + with_thousands(seen) + " of " + with_thousands(wanted) +
                                      " records)", std::string(error.segment()), error.detail(), std::string(error.fix()));
      return tl::unexpected(error);
    }
    write_record(output(), {view->text(), view->sequence(), view->lost(), view->lane(), view->content(), view->redelivered()}, form);
    lost += view->lost();
    ++seen;
    if (output().reader_gone()) break;
  }
  if (const auto written = output().flush(); !written) return tl::unexpected(written.error());
  if (lost > 0 && !context.json) note(with_thousands(lost) + " records were overwritten before they could be read");
  return status;
}

}  // namespace

void add_tail(CLI::App& app, Context& context) {
  auto options = std::make_shared<TailOptions>();
  CLI::App& command = add_command(
      app, context, "tail",
      "Look at a stream's records. As an observer: takes nothing away and holds nothing back. Prints what is there and ends; with --count "
      "waits until so many were seen; with -f goes on until the stream ends.",
      "atoll tail prices\n"
      "atoll tail prices --from earliest --count 3 --json\n"
      "atoll tail prices --from latest -f\n"
      "atoll tail prices --from 10\n");
  command.add_option("NAME", options->name, "of the stream")->required()->type_name("");
  add_start_option(command, options->from, "earliest (default), latest, or N records back in each lane");
  add_count_option(command, options->count, "end after this many records");
  command.add_flag("--follow,-f", options->follow, "go on until the stream ends or Ctrl-C");
  command.add_flag("--raw", options->raw, "write the bytes only: no newline after each record, nothing escaped");
  command.add_flag("--wait", options->wait, "wait for the stream to appear");
  command.callback([&context, options] { context.run = [&context, options] { return run_tail(context, *options); }; });
}

}  // namespace atoll_ipc::cli
