// The terminal as chat needs it: lines with editing and history (libedit), Ctrl-C that stops an answer and not the
// program, and text that cannot move the cursor.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace aqlm_exp::app {

/// While one lives, Ctrl-C is remembered instead of ending the program. One at a time.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;
  /// Was Ctrl-C pressed since the last call?
  static bool take();
};

/// Makes the C library read UTF-8 from the terminal, also where no locale is set (containers).
void use_utf8_locale();

/// Text from a model, for a terminal: control characters but line feed and tab become their pictures (U+2400 and on),
/// so that an answer can neither clear the screen nor answer for the user. @param text valid UTF-8
std::string without_controls(std::string_view text);

/// Typed bytes become characters. A byte that belongs to none becomes '?' and takes no other with it: a line feed
/// behind half a character still ends the line.
class TypedCharacters {
 public:
  void add(char byte) { bytes_ += byte; }
  /// @return the next character; nothing where more bytes are needed
  std::optional<char32_t> take();

 private:
  std::string bytes_;
};

enum class LineKind { kLine, kEnd, kInterrupted };
struct InputLine {
  LineKind kind = LineKind::kLine;
  std::string text;  ///< without the line feed
};

class LineReader {
 public:
  virtual ~LineReader() = default;
  virtual InputLine read(const std::string& prompt) = 0;
};

/// With editing and history where stdin and stdout are terminals; otherwise plain lines of stdin, no prompt.
std::unique_ptr<LineReader> make_line_reader();

}  // namespace aqlm_exp::app
