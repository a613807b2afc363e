#include "record_writer.hpp"

#include "text.hpp"

namespace atoll_ipc::cli {

const char* content_name(Content content) noexcept {
  switch (content) {
    case Content::text:
      return "text";
    case Content::json:
      return "json";
    case Content::array:
      return "array";
    case Content::bytes:
      break;
  }
  return "bytes";  // values yet unknown are read as bytes
}

void add_payload(Json& object, std::string_view payload) {
  if (is_utf8(payload))
    object["text"] = std::string(payload);
  else
    object["base64"] = base64(payload);
}

void write_record(Output& out, const ReceivedRecord& record, RecordForm form) {
  if (form == RecordForm::json) {
    Json object = {{"sequence", record.sequence},       {"lane", record.lane},
                   {"content", content_name(record.content)}, {"length", record.payload.size()},
                   {"redelivered", record.redelivered}, {"lost", record.lost}};
    add_payload(object, record.payload);
    out.write_json(object, -1);
  } else if (form == RecordForm::raw) {
    out.write(record.payload);
  } else {
    out.write((out.on_terminal() ? escape_for_terminal(record.payload, true) : std::string(record.payload)) + "\n");
  }
}

}  // namespace atoll_ipc::cli
