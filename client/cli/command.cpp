#include "command.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "text.hpp"

namespace atoll_ipc::cli {
namespace {

constexpr std::size_t kWidth = 79;
constexpr std::size_t kNameColumn = 26;
constexpr const char* kCommon = "common";

// Text from column `at` on, continued in column `indent`.
std::string wrapped(const std::string& text, std::size_t at, std::size_t indent) {
  std::string out;
  std::istringstream words(text);
  std::string word;
  bool first = true;
  while (words >> word) {
    if (!first && at + 1 + word.size() > kWidth) {
      out += "\n" + std::string(indent, ' ');
      at = indent;
      first = true;
    }
    out += (first ? "" : " ") + word;
    at += word.size() + (first ? 0 : 1);
    first = false;
  }
  return out;
}

std::string entry(const std::string& name, const std::string& text) {
  std::string line = "  " + name;
  if (line.size() + 2 > kNameColumn)
    line += "\n" + std::string(kNameColumn, ' ');
  else
    line.append(kNameColumn - line.size(), ' ');
  return line + wrapped(text, kNameColumn, kNameColumn) + "\n";
}

std::string option_name(const CLI::Option& option) {
  std::string name;
  for (const std::string& letter : option.get_snames()) name += (name.empty() ? "-" : ", -") + letter;
  for (const std::string& word : option.get_lnames()) name += (name.empty() ? "--" : ", --") + word;
  return option.get_type_name().empty() || option.get_items_expected_max() == 0 ? name : name + " " + option.get_type_name();
}

// Those that every command has, or the others.
std::string options_of(const CLI::App& command, bool common, const std::string& title) {
  std::string out;
  for (const CLI::Option* option : command.get_options([](const CLI::Option* each) { return each->nonpositional(); }))
    if ((option->get_group() == kCommon) == common) out += entry(option_name(*option), option->get_description());
  return out.empty() ? out : title + out;
}

// "Usage", what it does, arguments, options, commands, examples.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    const bool root = app->get_parent() == nullptr;
    const auto positionals = app->get_options([](const CLI::Option* option) { return option->get_positional(); });
    std::string usage = root ? "atoll COMMAND" : "atoll " + app->get_name();
    for (const CLI::Option* option : positionals) {
      const std::string name = option->get_name(true) + (option->get_items_expected_max() > 1 ? "..." : "");
      usage += option->get_required() ? " " + name : " [" + name + "]";
    }
    std::string out = "Usage: " + usage + " [OPTIONS]\n\n" + wrapped(app->get_description(), 0, 0) + "\n";
    if (root) {
      out += "\nCommands:\n";
      for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
        const std::string description = command->get_description();
        const std::string alias = command->get_aliases().empty() ? "" : ", " + command->get_aliases().front();
        out += entry(command->get_name() + alias, description.substr(0, description.find(". ")));
      }
    }
    if (!positionals.empty()) out += "\nArguments:\n";
    for (const CLI::Option* option : positionals) out += entry(option->get_name(true), option->get_description());
    out += options_of(*app, root, "\nOptions:\n") + (root ? "" : options_of(*app, true, "\nOptions of every command:\n"));
    return out + app->get_footer();
  }
};

}  // namespace

CLI::App& add_command(CLI::App& app, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App& command = *app.add_subcommand(name, description);
  std::string footer = "\nExamples:\n";
  std::istringstream lines(examples);
  for (std::string line; std::getline(lines, line);) footer += "  " + line + "\n";
  command.footer(footer);
  add_common_options(command, context);
  return command;
}

void add_common_options(CLI::App& command, Context& context) {
  command.set_help_flag("-h,--help", "show this help")->group(kCommon);
  command.add_flag("--json", context.json, "print JSON, errors too")->group(kCommon);
  command
      .add_option_function<std::string>(
          "--timeout",
          [&context](const std::string& text) {
            const auto seconds = parse_number<double>(text);
            if (!seconds || !(*seconds >= 0 && *seconds < 1e9))
              throw CLI::ValidationError("--timeout", "'" + text + "' is no number of seconds (2, 0.5)");
            context.timeout_s = seconds;
          },
          "give up after this time altogether")
      ->type_name("SECONDS")
      ->group(kCommon);
  command.add_option("--socket", context.socket, "the broker's socket (default: $ATOLL_SOCKET, else your own broker's)")
      ->type_name("PATH")
      ->group(kCommon);
}

CLI::Option* add_count_option(CLI::App& command, std::optional<std::uint64_t>& count, const std::string& description) {
  return command
      .add_option_function<std::string>(
          "--count,-n",
          [&count](const std::string& text) {
            count = parse_number<std::uint64_t>(text);
            if (!count || *count == 0) throw CLI::ValidationError("--count", "'" + text + "' is no number of records from 1 on");
          },
          description)
      ->type_name("N");
}

CLI::Option* add_start_option(CLI::App& command, StartOption& from, const std::string& description) {
  return command
      .add_option_function<std::string>(
          "--from",
          [&from](const std::string& text) {
            if (text == "earliest") {
              from = {Start::earliest, 0};
            } else if (text == "latest") {
              from = {Start::latest, 0};
            } else if (const auto back = parse_number<std::uint64_t>(text)) {
              from = {Start::back, *back};
            } else {
              throw CLI::ValidationError("--from", "'" + text + "' is not earliest, latest or a number of records");
            }
          },
          description)
      ->type_name("WHERE");
}

CLI::Option* one_of(CLI::Option* option, const std::vector<std::string>& values) {
  return option->check([values](const std::string& text) -> std::string {
    if (std::find(values.begin(), values.end(), text) != values.end()) return {};
    std::string possible;
    for (std::size_t i = 0; i < values.size(); ++i) possible += (i == 0 ? "" : i + 1 == values.size() ? " or " : ", ") + values[i];
    return "'" + text + "' is not " + possible;
  });
}

CLI::Option* add_size_option(CLI::App& command, const std::string& name, std::optional<std::uint64_t>& size,
                             const std::string& description) {
  return command
      .add_option_function<std::string>(
          name,
          [&size, name](const std::string& text) {
            size = parse_size(text);
            if (!size)
              throw CLI::ValidationError(name, "'" + text + "' is no size: write bytes, or a number with KiB, MiB or GiB (4096, 64KiB, 1MiB)");
          },
          description)
      ->type_name("SIZE");
}

std::shared_ptr<CLI::FormatterBase> make_help_formatter() { return std::make_shared<HelpFormatter>(); }

}  // namespace atoll_ipc::cli
