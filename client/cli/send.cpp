// atoll send: records into a stream, from standard input, a file or the command line.
#include <unistd.h>

#include <chrono>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "input.hpp"
#include "report.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

struct SendOptions {
  std::string name;
  bool lines = false;
  std::string file;
  std::vector<std::string> texts;
  std::string content;  // empty: text if it is UTF-8, else bytes
  bool finish = false;
  bool count = false;
  bool wait = false;
};

class Sender {
 public:
  Sender(Producer producer, const SendOptions& options, const TimeLimit& limit, std::optional<std::uint64_t> input_size)
      : producer_(std::move(producer)), options_(options), limit_(limit), input_size_(input_size), progress_(true), refused_before_(refused()) {}

  // Everything in `records`, in order. They must stay in place until it returns.
  Result<void> send(std::span<const std::string_view> records) {
    while (!records.empty()) {
      auto content = content_of(records.front());
      if (!content) return tl::unexpected(content.error());
      // As many as have the same content go in one call.
      batch_.clear();
      while (batch_.size() < records.size()) {
        const std::string_view record = records[batch_.size()];
        const auto its = batch_.empty() ? content : content_of(record);
        if (!its || *its != *content) break;
        batch_.push_back(std::as_bytes(std::span(record.data(), record.size())));
      }
      const auto sent = send_batch(*content);
      for (const auto& record : std::span(batch_).first(done_)) bytes_ += record.size();
      count_ += done_;
      progress_.update([&] { return progress_line(); });
      if (!sent) return failed(sent.error());
      records = records.subspan(done_);
    }
    return {};
  }

  Result<void> finish() { return producer_.finish(); }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t dropped() const { return refused() - refused_before_; }
  [[nodiscard]] std::uint64_t max_payload() const {
    const auto info = producer_.info();
    return info ? info->max_payload : std::numeric_limits<std::uint64_t>::max();
  }

 private:
  Result<Content> content_of(std::string_view record) const {
    if (options_.content == "bytes") return Content::bytes;
    if (options_.content.empty()) return is_utf8(record) ? Content::text : Content::bytes;
    const bool good = options_.content == "json" ? Json::accept(record) : is_utf8(record);
    if (!good)
      return fail(Errc::bad_encoding, "record " + std::to_string(count_ + 1) + " is no " + (options_.content == "json" ? "JSON" : "UTF-8 text"),
                  options_.name, count_ + 1, "mend the input, or send it with --content bytes");
    return options_.content == "json" ? Content::json : Content::text;
  }

  // batch_; done_ tells how many were stored or dropped.
  Result<void> send_batch(Content content) {
    done_ = 0;
    const std::span<const std::span<const std::byte>> all = batch_;
    return wait_for(limit_, [&](Deadline deadline) {
      std::size_t sent = 0;
      auto once = producer_.send_many(all.subspan(done_), deadline, content, &sent);
      done_ += sent;
      progress_.update([&] { return progress_line(); });
      return once;
    });
  }

  // Records that this lane ever refused.
  std::uint64_t refused() const {
    const auto info = producer_.info();
    return info ? info->dropped : 0;
  }

  tl::unexpected<Error> failed(const Error& error) {
    progress_.wipe();
    if (error.code() == Errc::interrupted || count_ == 0) return tl::unexpected(error);
    return fail(error.code(), std::string(error.message()) + " (after " + with_thousands(count_) + " records were sent)",
                std::string(error.segment()), error.detail(), std::string(error.fix()));
  }

  std::string progress_line() const {
    std::string line = rate_line("sent", count_ + done_, bytes_, started_);
    if (input_size_ && *input_size_ > 0) line += ", " + std::to_string(bytes_ * 100 / *input_size_) + " %";
    return line;
  }

  Producer producer_;
  const SendOptions& options_;
  const TimeLimit& limit_;
  std::optional<std::uint64_t> input_size_;
  Progress progress_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::vector<std::span<const std::byte>> batch_;
  std::size_t done_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t refused_before_;
};

// Each line as soon as it is there; the last one needs no newline.
Result<void> send_lines(Sender& sender, Input& input, const TimeLimit& limit) {
  const std::uint64_t longest = sender.max_payload();
  std::string buffer;
  std::vector<std::string_view> records;
  for (bool more = true; more;) {
    const std::size_t searched = buffer.size();
    const auto got = input.read_some(buffer, limit);
    if (!got) return tl::unexpected(got.error());
    more = *got;
    records.clear();
    std::size_t begin = 0;
    for (std::size_t end = buffer.find('\n', searched); end != buffer.npos; end = buffer.find('\n', begin)) {
      records.push_back(std::string_view(buffer).substr(begin, end - begin));
      begin = end + 1;
    }
    if (!more && begin < buffer.size()) {
      records.push_back(std::string_view(buffer).substr(begin));
      begin = buffer.size();
    }
    if (const auto sent = sender.send(records); !sent) return sent;
    buffer.erase(0, begin);
    if (buffer.size() > longest)
      return fail(Errc::too_large, "line " + std::to_string(sender.count() + 1) + " of " + input.name() + " is longer than " +
                                       std::to_string(longest) + " bytes, the largest record of this stream", {}, longest);
  }
  return {};
}

Result<void> send_input(Sender& sender, Input& input, bool lines, const TimeLimit& limit) {
  if (lines) return send_lines(sender, input, limit);
  const auto all = input.read_all(sender.max_payload(), "the largest record of this stream", limit);
  if (!all) return tl::unexpected(all.error());
  const std::string_view record[] = {*all};
  return sender.send(record);
}

Result<int> run_send(const Context& context, const SendOptions& options) {
  const TimeLimit limit(context);
  std::optional<Input> input;
  if (options.texts.empty()) {
    auto opened = Input::open(options.file);
    if (!opened) return tl::unexpected(opened.error());
    input.emplace(std::move(*opened));
  }
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  auto producer = wait_or_try(options.wait, limit, [&](Deadline wait) { return client->open_producer(options.name, wait); });
  if (!producer) return tl::unexpected(producer.error());

  Sender sender(std::move(*producer), options, limit, input ? input->size() : std::nullopt);
  const std::vector<std::string_view> texts(options.texts.begin(), options.texts.end());
  if (const auto sent = input ? send_input(sender, *input, options.lines, limit) : sender.send(texts); !sent) return tl::unexpected(sent.error());
  if (options.finish)
    if (const auto finished = sender.finish(); !finished) return tl::unexpected(finished.error());

  const std::uint64_t stored = sender.count() - sender.dropped();
  if (context.json)
    output().write_json({{"name", options.name}, {"sent", stored}, {"dropped", sender.dropped()}, {"bytes", sender.bytes()}, {"finished", options.finish}});
  else if (options.count)
    output().write(std::to_string(stored) + "\n");
  if (sender.dropped() > 0)
    return fail(Errc::dropped, std::to_string(sender.dropped()) + " of " + std::to_string(sender.count()) +
                                   " records were dropped: the ring was full and the stream is drop-new", options.name, sender.dropped());
  return kOk;
}

}  // namespace

void add_send(CLI::App& app, Context& context) {
  auto options = std::make_shared<SendOptions>();
  CLI::App& command = add_command(app, context, "send",
                                  "Send records to a stream. Without --lines, --file or --text, all of standard input is one record.",
                                  "printf 'one\\ntwo\\nthree\\n' | atoll send prices --lines\n"
                                  "atoll send prices --text 'AAPL 227.52' --text 'MSFT 417.10'\n"
                                  "atoll send frames --file frame.raw\n"
                                  "tail -f access.log | atoll send log --lines\n"
                                  "atoll send jobs --lines --file jobs.jsonl --content json --finish --count\n");
  command.add_option("NAME", options->name, "of the stream")->required()->type_name("");
  auto* lines = command.add_flag("--lines", options->lines, "each line is a record, sent as soon as it is read; the newline is not part of it");
  auto* file = command.add_option("--file", options->file, "read this file instead of standard input (-)")->type_name("FILE");
  command.add_option("--text", options->texts, "send this text; may be repeated, a record each")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->excludes(file)
      ->excludes(lines);
  one_of(command
             .add_option("--content", options->content, "what the records are: text, json or bytes (default: text where it is UTF-8, else bytes)")
             ->type_name("WHAT"),
         {"text", "json", "bytes"});
  command.add_flag("--finish", options->finish, "then say that nothing more will come: readers end when all is read");
  command.add_flag("--count", options->count, "print how many records were sent");
  command.add_flag("--wait", options->wait, "wait for the stream to appear");
  command.callback([&context, options] { context.run = [&context, options] { return run_send(context, *options); }; });
}

}  // namespace atoll_ipc::cli
