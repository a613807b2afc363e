#include "options.hpp"

#include "name_policy.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <climits>
#include <cstdlib>

namespace atoll_ipc::daemon {
namespace {

struct LimitName {
  const char* name;
  std::uint64_t UserLimits::*limit;
};

// What --user-limit may name.
constexpr LimitName kLimitNames[] = {
    {"connections", &UserLimits::connections},
    {"connection-rate", &UserLimits::connections_per_second},
    {"connection-burst", &UserLimits::connection_burst},
    {"segments", &UserLimits::segments},
    {"bytes", &UserLimits::bytes},
    {"lanes", &UserLimits::lanes},
    {"attachments", &UserLimits::attachments},
    {"memfds", &UserLimits::memfds},
    {"watches", &UserLimits::watches},
    {"descriptors", &UserLimits::descriptors},
    {"program-share", &UserLimits::program_share},
};

std::string limit_names() {
  std::string names;
  for (const LimitName& row : kLimitNames) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

std::uint64_t* limit_named(UserLimits& limits, const std::string& name) {
  for (const LimitName& row : kLimitNames)
    if (name == row.name) return &(limits.*row.limit);
  return nullptr;
}

}  // namespace

std::string default_socket_path() {
  if (const char* given = ::secure_getenv("ATOLL_SOCKET"); given != nullptr && *given != '\0') return given;
  if (const char* runtime = ::secure_getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime == '/')
    return std::string(runtime) + "/atoll/atoll.sock";
  return "/tmp/atoll-" + std::to_string(::geteuid()) + "/atoll.sock";
}

Result<void> apply_override(Options& options, const std::string& text) {
  const auto colon = text.find(':');
  const auto equals = text.find('=', colon == std::string::npos ? 0 : colon);
  const auto wrong = [&](const std::string& why) {
    return fail(Errc::invalid_argument, "user-limit '" + text + "': " + why, {}, 0,
                "write USER:LIMIT=VALUE with LIMIT one of " + limit_names());
  };
  if (colon == std::string::npos || equals == std::string::npos || colon == 0) return wrong("is not USER:LIMIT=VALUE");
  const std::string user = text.substr(0, colon);
  const std::string name = text.substr(colon + 1, equals - colon - 1);
  const std::string value = text.substr(equals + 1);
  auto& limits = options.user_overrides.try_emplace(user, options.user_limits).first->second;
  std::uint64_t* limit = limit_named(limits, name);
  if (limit == nullptr) return wrong("there is no limit '" + name + "'");
  char* end = nullptr;
  errno = 0;
  const unsigned long long number = std::strtoull(value.c_str(), &end, 10);
  if (value.empty() || value[0] == '-' || *end != '\0' || errno != 0) return wrong("'" + value + "' is no number");
  if (limit == &limits.program_share && (number < 1 || number > 100)) return wrong("a program's share is 1 to 100 percent");
  *limit = number;
  return {};
}

Parsed parse_options(int argc, char** argv) {
  Parsed parsed;
  Options& options = parsed.options;
  CLI::App app("The broker of Atoll: creates, describes, hands out, watches and removes shared\n"
               "memory segments. Normally started by the first client; in the foreground it logs\n"
               "to standard error.",
               "atolld");
  // Within 80 columns: what may be said of an option has 43, and breaks its lines itself.
  app.get_formatter()->column_width(36);
  const auto unnamed = [](CLI::Validator validator) { return validator.description(""); };
  app.set_help_flag("-h,--help", "Show this help");
  app.set_version_flag("--version", std::string("atolld ") + ATOLL_VERSION, "Show the version");
  app.set_config("--config", "", "Read options from it (name = value lines)")->type_name("FILE");
  app.allow_config_extras(CLI::config_extras_mode::error);
  options.socket_path = default_socket_path();
  const auto option = [&](const char* name, auto& value, const char* type, const char* text) { return app.add_option(name, value, text)->type_name(type); };
  const auto number = [&](const char* name, auto& value, const char* text, const CLI::Validator& range = CLI::NonNegativeNumber) {
    option(name, value, "N", text)->check(unnamed(range))->capture_default_str();
  };
  option("--socket", options.socket_path, "PATH", "Socket to listen on; its directory is the\nruntime directory")->capture_default_str();
  app.add_flag("--autostart", options.autostart, "Started by a client: own session, log to a\nfile, leave when idle for 30 s");
  number("--idle-exit", options.idle_exit_s, "Leave so many seconds after the last\nconnection (0: never)");
  option("--log-level", options.log_level, "LEVEL", "trace, debug, info, warn, error or off")
      ->check(unnamed(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"})))
      ->capture_default_str();
  option("--log-file", options.log_file, "FILE", "Log to it instead of standard error");
  app.add_flag("--allow-other-users", options.allow_other_users, "Let other users connect (runtime directory\n0755, socket 0666)");
  app.add_flag("--allow-unknown-users", options.allow_unknown_users, "Serve user ids that a user namespace hides\n(65534)");
  number("--grace", options.grace_s, "Seconds after a start in which clients may\ncome back", CLI::Range(0.0, 60.0));
  number("--max-connections", options.user_limits.connections, "Connections of one user");
  number("--max-segments", options.user_limits.segments, "Segments of one user");
  number("--max-bytes", options.user_limits.bytes, "Bytes of one user (0: a quarter of the file\nsystem, at most 4 GiB)");
  number("--max-lanes", options.user_limits.lanes, "Lanes of one user");
  number("--max-attachments", options.user_limits.attachments, "Attachments of one user");
  number("--max-memfds", options.user_limits.memfds, "Files of memfd segments of one user (0: a\nquarter of what the broker may open)");
  number("--max-descriptors", options.user_limits.descriptors, "Descriptors that one user was sent and has\nnot yet taken");
  number("--program-share", options.user_limits.program_share, "Percent of what a user's other programs\nleave that one program may have (100: all)", CLI::Range(1, 100));
  number("--max-watches", options.user_limits.watches, "Waits for a segment of one user");
  number("--connection-rate", options.user_limits.connections_per_second, "New connections a second of one user");
  number("--connection-burst", options.user_limits.connection_burst, "New connections of one user at once");
  number("--max-connections-total", options.broker_limits.connections, "Connections of all users");
  number("--max-segments-total", options.broker_limits.segments, "Segments of all users");
  number("--max-lanes-total", options.broker_limits.lanes, "Lanes of all users");
  std::vector<std::string> overrides;
  option("--user-limit", overrides, "USER:LIMIT=N",
         "For one user (repeatable). LIMIT: an option\nabove without max-: connections, segments,\nbytes, connection-rate, program-share, ...");
  option("--name-prefix", options.name_prefixes, "USER:PREFIX",
         "Repeatable; USER may be *. With one given,\nusers create only names that start with\ntheir own name and a slash, or with a prefix\ngiven to them");
  app.footer("Examples:\n"
             "  atolld          serve your own programs, in the foreground\n"
             "  atolld --socket /run/atoll/atoll.sock --allow-other-users \\\n"
             "         --config /etc/atoll/atolld.conf\n"
             "Exit status: 0 ended as asked, 1 could not serve (the message says why), 2 wrong\n"
             "usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_now = true;
    parsed.status = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  for (const std::string& text : overrides)
    if (auto applied = apply_override(options, text); !applied) {
      std::fprintf(stderr, "atolld: %s\nfix: %s\n", applied.error().message.c_str(), applied.error().fix.c_str());
      parsed.exit_now = true;
      parsed.status = 2;
      return parsed;
    }
  if (auto policy = NamePolicy::make(options.name_prefixes); !policy) {
    std::fprintf(stderr, "atolld: %s\nfix: %s\n", policy.error().message.c_str(), policy.error().fix.c_str());
    parsed.exit_now = true;
    parsed.status = 2;
    return parsed;
  }
  if (options.autostart && app.count("--idle-exit") == 0) options.idle_exit_s = 30;
  if (!options.socket_path.empty() && options.socket_path.front() != '/') {
    char here[PATH_MAX];
    if (::getcwd(here, sizeof here) != nullptr) options.socket_path = std::string(here) + "/" + options.socket_path;
  }
  return parsed;
}

}  // namespace atoll_ipc::daemon
