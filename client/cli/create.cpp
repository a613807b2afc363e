// atoll create: makes a segment, or finds it there with the same options.
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "report.hpp"

namespace atoll_ipc::cli {
namespace {

struct CreateOptions {
  std::string name;
  std::string kind = "stream";
  std::optional<std::uint64_t> capacity, size, put_size;
  std::string when_full;
  std::optional<std::uint32_t> alignment;
  std::string backing;
  std::string directory;
  std::vector<std::string> access;
};

Result<void> refuse(const CreateOptions& options, bool given, const char* option, const char* why) {
  if (!given) return {};
  return fail(Errc::invalid_argument, "'" + options.name + "': " + option + " " + why, options.name, 0,
              "leave it out, or choose another --kind (see `atoll create --help`)");
}

// CreateOptions of one kind given for the other are mistakes.
Result<void> check(const CreateOptions& options) {
  Result<void> good{};
  if (options.kind == "stream") {
    good = refuse(options, options.size.has_value(), "--size", "is for kind bytes; a stream has --capacity");
    if (good) good = refuse(options, options.put_size.has_value(), "--put-size", "is for kind bytes");
    if (good && options.capacity == 0u)
      good = fail(Errc::invalid_geometry, "'" + options.name + "': --capacity is 0; it must be from 4KiB to 4GiB", options.name, 0, "leave it out for 1MiB");
  } else {
    good = refuse(options, options.capacity.has_value(), "--capacity", "is for kind stream; bytes have --size");
    if (good) good = refuse(options, !options.when_full.empty(), "--when-full", "is for kind stream");
    if (good) good = refuse(options, options.alignment.has_value(), "--alignment", "is for kind stream");
    if (good && !options.size)
      good = fail(Errc::invalid_argument, "kind bytes needs --size", options.name, 0, "say how large it shall be, for example --size 4096");
  }
  if (good && !options.directory.empty() && !options.backing.empty() && options.backing != "file")
    good = fail(Errc::invalid_argument, "--directory is for --backing file, not " + options.backing, options.name, 0, "leave one of them out");
  if (good && options.directory.empty() && options.backing == "file")
    good = fail(Errc::invalid_argument, "--backing file needs --directory", options.name, 0, "say in which directory the files shall lie");
  return good;
}

// What both kinds have.
template <class KindOptions>
Result<KindOptions> common_options(const CreateOptions& options) {
  KindOptions result;
  result.backing = !options.directory.empty()      ? Backing::file
                   : options.backing == "memfd" ? Backing::memfd
                                                : Backing::shm;
  if (!options.directory.empty()) {
    std::error_code problem;
    result.directory = std::filesystem::absolute(options.directory, problem).lexically_normal().string();
    if (problem) return fail(Errc::invalid_argument, "--directory " + options.directory + ": " + problem.message());
  }
  for (const std::string& entry : options.access) result.access += (result.access.empty() ? "" : ",") + entry;
  return result;
}

Result<bool> create(Client& client, const CreateOptions& options) {
  if (options.kind == "bytes") {
    auto bytes = common_options<BytesOptions>(options);
    if (!bytes) return tl::unexpected(bytes.error());
    bytes->size = *options.size;
    bytes->put_size = options.put_size;
    return client.create(options.name, *bytes);
  }
  auto stream = common_options<StreamOptions>(options);
  if (!stream) return tl::unexpected(stream.error());
  if (options.capacity) stream->capacity = *options.capacity;
  if (options.when_full == "drop-new") stream->when_full = WhenFull::drop_new;
  if (options.when_full == "overwrite") stream->when_full = WhenFull::overwrite;
  if (options.alignment) stream->alignment = *options.alignment;
  return client.create(options.name, *stream);
}

Result<int> run_create(const Context& context, const CreateOptions& options) {
  if (const auto good = check(options); !good) return tl::unexpected(good.error());
  const TimeLimit limit(context);
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  const auto created = create(*client, options);
  if (!created) return tl::unexpected(created.error());
  if (context.json)
    output().write_json({{"name", options.name}, {"kind", options.kind}, {"created", *created}});
  else if (!*created && is_terminal(STDERR_FILENO))
    note(options.name + " was there already, with the same options");
  return kOk;
}

}  // namespace

void add_create(CLI::App& app, Context& context) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& command = add_command(app, context, "create",
                                  "Create a segment. One that exists with the same options is left as it is; with other options it is an "
                                  "error that names both.",
                                  "atoll create prices --kind stream --capacity 1MiB --when-full block\n"
                                  "atoll create frames --alignment 64 --when-full overwrite\n"
                                  "atoll create note --kind bytes --size 4096\n"
                                  "atoll create model --kind bytes --size 200MiB --directory /var/tmp\n"
                                  "atoll create prices --access bob:c --access '*:o'\n");
  command.add_option("NAME", options->name, "letters, digits and . _ - in parts joined by /")->required()->type_name("");
  one_of(command.add_option("--kind", options->kind, "stream (default) or bytes")->type_name("KIND"), {"stream", "bytes"});
  add_size_option(command, "--capacity", options->capacity, "stream: room in each producer's lane, a power of two or rounded up to one (default 1MiB)");
  one_of(command
             .add_option("--when-full", options->when_full,
                         "stream: what a send does when consumers are behind: block (default), drop-new or overwrite")
             ->type_name("WHAT"),
         {"block", "drop-new", "overwrite"});
  one_of(command.add_option("--alignment", options->alignment, "stream: of each record in memory, 16 (default) or 64")->type_name("BYTES"),
         {"16", "64"});
  add_size_option(command, "--size", options->size, "bytes: how large it is");
  add_size_option(command, "--put-size", options->put_size, "bytes: the longest `atoll put` (default: the size, if it is at most 16MiB, else 0)");
  one_of(command.add_option("--backing", options->backing, "shm (default), file (survives a reboot) or memfd (sealed, without a name)")
             ->type_name("BACKING"),
         {"shm", "file", "memfd"});
  command.add_option("--directory", options->directory, "backing file: where the files lie; implies --backing file")->type_name("DIR");
  command
      .add_option("--access", options->access,
                  "who else may use it: RIGHTS are letters of p (produce, write), c (consume), o (observe, read), a (all of these, and remove); USER * is "
                  "everybody; may be repeated")
      ->type_name("USER:RIGHTS")
      ->expected(1)
      ->take_all();
  command.callback([&context, options] { context.run = [&context, options] { return run_create(context, *options); }; });
}

}  // namespace atoll_ipc::cli
