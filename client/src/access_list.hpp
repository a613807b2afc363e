// "USER:RIGHTS,..." as the control protocol wants it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "atoll/error.hpp"

namespace atoll_ipc {

// RIGHTS are letters: p produce, c consume, o observe, a admin. "*:co,1000:p".
inline Result<nlohmann::json> parse_access_list(const std::string& text) {
  nlohmann::json list = nlohmann::json::array();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const auto colon = item.rfind(':');
    nlohmann::json rights = nlohmann::json::array();
    bool good = colon != std::string::npos && colon > 0 && colon + 1 < item.size();
    for (std::size_t i = colon + 1; good && i < item.size(); ++i) {
      switch (item[i]) {
        case 'p': rights.push_back("produce"); break;
        case 'c': rights.push_back("consume"); break;
        case 'o': rights.push_back("observe"); break;
        case 'a': rights.push_back("admin"); break;
        default: good = false;
      }
    }
    if (!good)
      return fail(Errc::invalid_argument, "the access list has '" + item + "'", {}, 0, "write USER:RIGHTS, with RIGHTS of p (produce) c (consume) o (observe) a (admin)");
    list.push_back({{"user", item.substr(0, colon)}, {"rights", std::move(rights)}});
    begin = end + 1;
  }
  return list;
}

}  // namespace atoll_ipc
