// How the commands hang together: each adds itself to the parser and says what to run.
//
// Called by main.cpp only: add_...(), one for each command, then Context::run of the one chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "atoll/atoll.hpp"

namespace atoll_ipc::cli {

// A number that is written out in full; nothing else.
template <class Number>
std::optional<Number> parse_number(const std::string& text) {
  Number number{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The options that every command takes, and the command to run.
struct Context {
  bool json = false;
  std::optional<double> timeout_s;
  std::string socket;
  // The exit status, or the error from which it is made.
  std::function<Result<int>()> run;
};

// A command with the options that all take. `examples`: lines for --help, without indentation.
CLI::App& add_command(CLI::App& app, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples);
void add_common_options(CLI::App& command, Context& context);

// An option whose value is a size ("64KiB"); refuses everything else with what is possible.
CLI::Option* add_size_option(CLI::App& command, const std::string& name, std::optional<std::uint64_t>& size,
                             const std::string& description);

// -n, --count: records, from 1 on.
CLI::Option* add_count_option(CLI::App& command, std::optional<std::uint64_t>& count, const std::string& description);

// --from: where reading starts.
struct StartOption {
  Start start;
  std::uint64_t back;
};
CLI::Option* add_start_option(CLI::App& command, StartOption& from, const std::string& description);

// Refuses other values than these.
CLI::Option* one_of(CLI::Option* option, const std::vector<std::string>& values);

void add_status(CLI::App& app, Context& context);
void add_create(CLI::App& app, Context& context);
void add_ls(CLI::App& app, Context& context);
void add_show(CLI::App& app, Context& context);
void add_manifest(CLI::App& app, Context& context);
void add_send(CLI::App& app, Context& context);
void add_recv(CLI::App& app, Context& context);
void add_tail(CLI::App& app, Context& context);
void add_put(CLI::App& app, Context& context);
void add_get(CLI::App& app, Context& context);
void add_rm(CLI::App& app, Context& context);
void add_gc(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_stop(CLI::App& app, Context& context);

// The layout of --help: wrapped to 80 columns.
std::shared_ptr<CLI::FormatterBase> make_help_formatter();

}  // namespace atoll_ipc::cli
