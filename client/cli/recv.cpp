// atoll recv: takes records from a stream as a member of a group.
//
// A record is acknowledged only after it was written to standard output: what could not be written,
// or was not yet when the command was stopped, goes to the group's next consumer.
#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "record_writer.hpp"
#include "report.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

constexpr std::uint64_t kBatch = 64;

struct RecvOptions {
  std::string name;
  std::string group = "default";
  std::optional<std::uint64_t> count;
  bool follow = false;
  StartOption from{Start::earliest, 0};
  bool exclusive = false;
  bool ephemeral = false;
  bool raw = false;
  bool wait = false;
};

Result<void> write_and_acknowledge(Views& views, RecordForm form) {
  std::uint64_t lost = views.lost();
  for (const auto& record : views)
    write_record(output(), {record.text(), record.sequence(), std::exchange(lost, 0), views.lane(), record.content(), views.redelivered()}, form);
  if (auto written = output().flush(); !written) return written;
  if (auto done = views.acknowledge(); !done) return done;
  return views.release();
}

Result<int> run_recv(const Context& context, const RecvOptions& options) {
  const TimeLimit limit(context);
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  const std::uint64_t wanted = options.count ? *options.count : options.follow ? std::numeric_limits<std::uint64_t>::max() : 1;
  ConsumerOptions consumer_options;
  consumer_options.group = options.group;
  consumer_options.manual = true;
  consumer_options.exclusive = options.exclusive;
  consumer_options.ephemeral = options.ephemeral;
  consumer_options.start = options.from.start;
  consumer_options.back = options.from.back;
  consumer_options.prefetch = static_cast<std::uint32_t>(std::min(wanted, kBatch));
  auto consumer = wait_or_try(options.wait, limit, [&](Deadline wait) {
    consumer_options.wait = wait;
    return client->open_consumer(options.name, consumer_options);
  });
  if (!consumer) return tl::unexpected(consumer.error());

  const RecordForm form = context.json ? RecordForm::json : options.raw ? RecordForm::raw : RecordForm::lines;
  const auto started = std::chrono::steady_clock::now();
  Progress progress(!output().on_terminal());
  std::uint64_t received = 0;
  std::uint64_t bytes = 0;
  std::uint64_t lost = 0;
  int status = kOk;
  while (received < wanted) {
    auto views = wait_for(limit, [&](Deadline deadline) {
      progress.update([&] { return rate_line("received", received, bytes, started); });
      return consumer->receive_many(static_cast<std::size_t>(std::min(wanted - received, kBatch)), deadline);
    });
    if (!views) {
      const Error& error = views.error();
      if (error.code() == Errc::lane_damaged) {  // the other lanes go on
        progress.wipe();
        report(error, context.json);
        status = kDamaged;
        continue;
      }
      if (error.code() == Errc::ended && !options.count && options.follow) break;
      if (options.count && received > 0 && error.code() != Errc::interrupted)
        return fail(error.code(), std::string(error.message()) + " (after " + with_thousands(received) + " of " + with_thousands(wanted) +
                                      " records)", std::string(error.segment()), error.detail(), std::string(error.fix()));
      return tl::unexpected(error);
    }
    for (const auto& record : *views) bytes += record.data().size();
    lost += views->lost();
    const std::size_t count = views->size();
    if (const auto done = write_and_acknowledge(*views, form); !done) return tl::unexpected(done.error());
    received += count;
  }
  progress.wipe();
  if (lost > 0 && !context.json) note(with_thousands(lost) + " records were overwritten before they could be read");
  return status;
}

}  // namespace

void add_recv(CLI::App& app, Context& context) {
  auto options = std::make_shared<RecvOptions>();
  CLI::App& command = add_command(
      app, context, "recv",
      "Take records from a stream. As a consumer of a group: each record goes to one of the group's consumers, every group gets all. Waits for "
      "one record, or for as many as --count says, or with -f goes on until the stream ends. A record counts as taken once it was written out.",
      "atoll recv prices --group g1 --count 3\n"
      "atoll recv prices --group g1 -f\n"
      "atoll recv prices -f --json | jq -r .text\n"
      "atoll recv frames --raw > frame.raw\n"
      "while job=$(atoll recv jobs --timeout 60); do work \"$job\"; done\n");
  command.add_option("NAME", options->name, "of the stream")->required()->type_name("");
  command.add_option("--group,-g", options->group, "the group to join; made if it is not there (default: default)")->type_name("GROUP");
  add_count_option(command, options->count, "take this many records");
  command.add_flag("--follow,-f", options->follow, "go on until the stream ends or Ctrl-C");
  add_start_option(command, options->from, "where a new group starts: earliest (default), latest, or N records back in each lane");
  command.add_flag("--exclusive", options->exclusive, "a new group has one consumer at a time");
  command.add_flag("--ephemeral", options->ephemeral, "a new group ends with its last consumer");
  command.add_flag("--raw", options->raw, "write the bytes only: no newline after each record, nothing escaped");
  command.add_flag("--wait", options->wait, "wait for the stream to appear");
  command.callback([&context, options] { context.run = [&context, options] { return run_recv(context, *options); }; });
}

}  // namespace atoll_ipc::cli
