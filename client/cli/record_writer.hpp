// Records on standard output, as `recv` and `tail` print them.
#pragma once

#include <string_view>

#include "atoll/atoll.hpp"
#include "output.hpp"

namespace atoll_ipc::cli {

enum class RecordForm {
  lines,  // each ended by a newline; on a terminal what could confuse it is escaped
  raw,    // the bytes and nothing else, also on a terminal
  json,   // one object a line: sequence lane content length redelivered lost, and text or base64
};

// What is told of a record.
struct ReceivedRecord {
  std::string_view payload;
  std::uint64_t sequence = 0;
  std::uint64_t lost = 0;
  unsigned lane = 0;
  Content content = Content::bytes;
  bool redelivered = false;
};

void write_record(Output& out, const ReceivedRecord& record, RecordForm form);
// "text" if it is UTF-8, else "base64".
void add_payload(Json& object, std::string_view payload);
[[nodiscard]] const char* content_name(Content content) noexcept;

}  // namespace atoll_ipc::cli
