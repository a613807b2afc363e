// The command `atoll`: an operator's and a shell script's way to Atoll.
//
// Wires the commands to the parser, and turns what they return into messages and an exit status.
#include <csignal>
#include <string_view>

#include "broker.hpp"
#include "command.hpp"
#include "exit_status.hpp"
#include "output.hpp"
#include "report.hpp"
#include "terminal.hpp"

namespace atoll_ipc::cli {
namespace {

void add_commands(CLI::App& app, Context& context) {
  app.name("atoll");
  app.description("Share memory between programs in different languages: look at it, make it, use it.");
  app.formatter(make_help_formatter());
  app.require_subcommand(0, 1);
  add_common_options(app, context);
  app.set_version_flag("--version", "atoll " ATOLL_VERSION, "show the version")->group("common");
  app.footer(
      "\nExamples:\n"
      "  atoll create prices --kind stream --capacity 1MiB\n"
      "  printf 'one\\ntwo\\nthree\\n' | atoll send prices --lines\n"
      "  atoll recv prices --group g1 --count 3\n"
      "  atoll ls\n"
      "`atoll COMMAND --help` tells more of each command, `man atoll` tells all.\n"
      "\nExit status:\n" +
      std::string(kExitStatusTable));
  add_status(app, context);
  add_create(app, context);
  add_ls(app, context);
  add_show(app, context);
  add_manifest(app, context);
  add_send(app, context);
  add_recv(app, context);
  add_tail(app, context);
  add_put(app, context);
  add_get(app, context);
  add_rm(app, context);
  add_gc(app, context);
  add_bench(app, context);
  add_stop(app, context);
}

bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--json") return true;
  return false;
}

int usage_error(const CLI::App& app, const CLI::ParseError& problem, bool json) {
  const auto chosen = app.get_subcommands();
  const std::string help = chosen.empty() ? "atoll --help" : "atoll " + chosen.back()->get_name() + " --help";
  std::string message = problem.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&problem) != nullptr && chosen.empty() && !app.remaining().empty())
    message = "there is no command '" + app.remaining().front() + "'";
  if (const auto end = message.find_last_not_of("\n "); end != message.npos) message.erase(end + 1);
  report(Error(Errc::invalid_argument, message, {}, 0, "`" + help + "` tells what is possible"), json);
  return kUsage;
}

// What the command wrote must have arrived, or its status means nothing.
int finish(Result<int> result, bool json) {
  const auto written = output().flush();
  if (output().reader_gone()) die_by(SIGPIPE);
  if (result && !written) result = tl::unexpected(written.error());
  if (result) return *result;
  if (result.error().code() == Errc::interrupted && stop_signal() != 0) die_by(stop_signal());
  report(result.error(), json);
  return exit_status(result.error().code());
}

int run(int argc, char** argv) {
  keep_standard_descriptors();
  watch_signals();
  Context context;
  CLI::App app;
  add_commands(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    output().write(app.help());
    return finish(kOk, false);
  } catch (const CLI::CallForVersion&) {
    output().write("atoll " ATOLL_VERSION "\n");
    return finish(kOk, false);
  } catch (const CLI::ParseError& problem) {
    return usage_error(app, problem, asks_for_json(argc, argv));
  }
  if (!context.run) {
    report(Error(Errc::invalid_argument, "a command is missing", {}, 0, "`atoll --help` lists the commands"), context.json);
    return kUsage;
  }
  return finish(context.run(), context.json);
}

}  // namespace
}  // namespace atoll_ipc::cli

int main(int argc, char** argv) { return atoll_ipc::cli::run(argc, argv); }
