// atoll put, atoll get: the content of a bytes segment, as a whole.
#include <memory>

#include "broker.hpp"
#include "exit_status.hpp"
#include "input.hpp"
#include "record_writer.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

struct PutOptions {
  std::string name;
  std::string file;
  std::optional<std::string> text;
  bool wait = false;
};

struct GetOptions {
  std::string name;
  std::uint64_t after = 0;
  bool wait = false;
  bool raw = false;
};

Result<Bytes> open(const Context& context, const TimeLimit& limit, const std::string& name, MapMode mode, bool wait) {
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  return wait_or_try(wait, limit, [&](Deadline deadline) { return client->open_bytes(name, mode, deadline); });
}

Result<int> run_put(const Context& context, const PutOptions& options) {
  const TimeLimit limit(context);
  std::optional<Input> input;
  if (!options.text) {
    auto opened = Input::open(options.file);
    if (!opened) return tl::unexpected(opened.error());
    input.emplace(std::move(*opened));
  }
  auto bytes = open(context, limit, options.name, MapMode::write, options.wait);
  if (!bytes) return tl::unexpected(bytes.error());
  const auto info = bytes->info();
  if (!info) return tl::unexpected(info.error());
  auto content = input ? input->read_all(info->put_size, "the longest put of '" + options.name + "'", limit) : Result<std::string>(*options.text);
  if (!content) return tl::unexpected(content.error());
  const auto put = wait_for(limit, [&](Deadline deadline) { return bytes->put(std::as_bytes(std::span(content->data(), content->size())), deadline); });
  if (!put) return tl::unexpected(put.error());
  if (context.json) output().write_json({{"name", options.name}, {"length", content->size()}});
  return kOk;
}

Result<int> run_get(const Context& context, const GetOptions& options) {
  const TimeLimit limit(context);
  auto bytes = open(context, limit, options.name, MapMode::read, options.wait);
  if (!bytes) return tl::unexpected(bytes.error());
  auto content = wait_or_try(options.wait, limit, [&](Deadline deadline) { return bytes->get(options.after, deadline); });
  if (!content && content.error().code() == Errc::timed_out && !options.wait)
    return fail(Errc::timed_out, options.after == 0 ? "nothing was put into '" + options.name + "' yet"
                                                    : "'" + options.name + "' has no content newer than version " + std::to_string(options.after),
                options.name, 0, "put something with `atoll put " + options.name + "`, or wait for it with --wait");
  if (!content) return tl::unexpected(content.error());
  const std::string_view data(reinterpret_cast<const char*>(content->data.data()), content->data.size());
  if (context.json) {
    Json object = {{"name", options.name}, {"version", content->version}, {"length", data.size()}};
    add_payload(object, data);
    output().write_json(object, -1);
  } else {
    output().write(output().on_terminal() && !options.raw ? escape_for_terminal(data, true) : std::string(data));
  }
  return kOk;
}

}  // namespace

void add_put(CLI::App& app, Context& context) {
  auto options = std::make_shared<PutOptions>();
  CLI::App& command = add_command(app, context, "put",
                                  "Make something the content of a bytes segment. Standard input, a file or a text; who gets it gets all of "
                                  "it, never half of the old and half of the new.",
                                  "printf 'hello' | atoll put note\n"
                                  "atoll put model --file weights.bin\n"
                                  "atoll put note --text 'hello'\n");
  command.add_option("NAME", options->name, "of the segment")->required()->type_name("");
  auto* file = command.add_option("--file", options->file, "read this file instead of standard input (-)")->type_name("FILE");
  command.add_option("--text", options->text, "put this text")->type_name("TEXT")->excludes(file);
  command.add_flag("--wait", options->wait, "wait for the segment to appear");
  command.callback([&context, options] { context.run = [&context, options] { return run_put(context, *options); }; });
}

void add_get(CLI::App& app, Context& context) {
  auto options = std::make_shared<GetOptions>();
  CLI::App& command = add_command(app, context, "get",
                                  "Print the content of a bytes segment. What was put last, as it is: no newline is added. On a terminal "
                                  "control characters are escaped.",
                                  "atoll get note\n"
                                  "atoll get model > weights.bin\n"
                                  "atoll get note --json\n"
                                  "atoll get note --after 3 --wait --timeout 10\n");
  command.add_option("NAME", options->name, "of the segment")->required()->type_name("");
  command
      .add_option_function<std::string>(
          "--after",
          [options](const std::string& text) {
            const auto version = parse_number<std::uint64_t>(text);
            if (!version) throw CLI::ValidationError("--after", "'" + text + "' is no version: a number from 0 on");
            options->after = *version;
          },
          "only content with a higher version than this (--json tells the version)")
      ->type_name("VERSION");
  command.add_flag("--wait", options->wait, "wait for the segment and for content");
  command.add_flag("--raw", options->raw, "escape nothing, on a terminal either");
  command.callback([&context, options] { context.run = [&context, options] { return run_get(context, *options); }; });
}

}  // namespace atoll_ipc::cli
