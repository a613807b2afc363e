// Standard output: buffered by us, so that a command knows what has really been written before it
// acknowledges anything, and notices at once when its reader has gone.
//
// Commands write whole lines or whole records; the first failure is kept and later writes do nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "atoll/error.hpp"

namespace atoll_ipc::cli {

using Json = nlohmann::ordered_json;  // keys stay in the order they were written

class Output {
 public:
  Output();
  void write(std::string_view text);
  // One line (indent < 0) or pretty. On a terminal everything but ASCII is escaped.
  void write_json(const Json& value, int indent = 2);
  // Everything written so far has reached the file, pipe or terminal; else why not.
  Result<void> flush();

  [[nodiscard]] bool on_terminal() const noexcept { return on_terminal_; }
  [[nodiscard]] bool colours() const noexcept { return colours_; }
  // The reader has gone (EPIPE): the command ends as by SIGPIPE.
  [[nodiscard]] bool reader_gone() const noexcept;
  // Names from others, safe to print: escaped on a terminal, whole and raw elsewhere.
  [[nodiscard]] std::string safe(std::string_view text) const;

 private:
  bool on_terminal_;
  bool colours_;
  std::string buffer_;
  int error_ = 0;  // errno of the first failed write
};

Output& output();

}  // namespace atoll_ipc::cli
