#include "table.hpp"

#include <algorithm>
#include <numeric>

#include "terminal.hpp"

namespace atoll_ipc::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 6;  // no elastic column is made narrower

// Takes columns from the widest elastic ones until the line fits.
void shrink(std::vector<std::size_t>& widths, const std::vector<Column>& table_columns, std::size_t room) {
  std::size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
  while (total > room) {
    std::size_t widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); ++i)
      if (table_columns[i].elastic && widths[i] > kNarrowest && (widest == widths.size() || widths[i] > widths[widest])) widest = i;
    if (widest == widths.size()) return;
    --widths[widest];
    --total;
  }
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = cell.empty() ? "-" : output().safe(cell);
  rows_.push_back(std::move(cells));
}

void Table::print(Output& out) const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(columns(column.title));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  if (out.on_terminal()) shrink(widths, columns_, terminal_width());

  const auto print_line = [&](auto&& cell_at, const char* before, const char* after) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = cut_to(cell_at(i), widths[i], columns_[i].cut);
      const std::string padding(widths[i] - columns(cell), ' ');
      line += columns_[i].right ? padding + cell : cell + padding;
      line.append(kGap, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out.write(before + line + after + "\n");
  };
  const char* bold = out.colours() ? "\x1b[1m" : "";
  const char* plain = out.colours() ? "\x1b[0m" : "";
  print_line([&](std::size_t i) -> const std::string& { return columns_[i].title; }, bold, plain);
  for (const auto& row : rows_) print_line([&](std::size_t i) -> const std::string& { return row[i]; }, "", "");
}

void Facts::print(Output& out) const {
  std::size_t widest = 0;
  for (const Line& line : lines_) widest = std::max(widest, line.name.size());
  const std::size_t indent = widest + kGap;
  for (const Line& line : lines_) {
    std::string value = out.safe(line.value);
    if (out.on_terminal() && terminal_width() > indent + kNarrowest) value = cut_to(value, terminal_width() - indent, line.cut);
    out.write(line.name + std::string(indent - line.name.size(), ' ') + value + "\n");
  }
}

}  // namespace atoll_ipc::cli
