#include "experiments/app/terminal.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstring>
#include <iostream>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::app {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;
struct sigaction g_before;

void on_interrupt(int) { g_interrupted = 1; }

class PlainReader final : public LineReader {
 public:
  InputLine read(const std::string&) override {
    InputLine line;
    if (!std::getline(std::cin, line.text)) {
      line.kind = InterruptWatch::take() ? LineKind::kInterrupted : LineKind::kEnd;
      std::cin.clear();
    }
    return line;
  }
};

class EditReader final : public LineReader {
 public:
  EditReader() : edit_(::el_init("aqlm-exp", stdin, stdout, stderr)), history_(::history_init()) {
    if (edit_ == nullptr || history_ == nullptr) throw InternalError("[chat] the line editor could not be started");
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, 1000);
    ::history(history_, &event, H_SETUNIQUE, 1);
    ::el_set(edit_, EL_CLIENTDATA, this);
    ::el_set(edit_, EL_PROMPT, &EditReader::prompt_text);
    ::el_set(edit_, EL_EDITOR, "emacs");
    ::el_set(edit_, EL_HIST, ::history, history_);
    ::el_set(edit_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    ::el_set(edit_, EL_GETCFN, &EditReader::read_character);
    ::el_source(edit_, nullptr);  // ~/.editrc
  }
  ~EditReader() override {
    ::el_end(edit_);
    ::history_end(history_);
  }
  EditReader(const EditReader&) = delete;
  EditReader& operator=(const EditReader&) = delete;

  InputLine read(const std::string& prompt) override {
    prompt_ = prompt;
    interrupted_ = false;
    ::el_set(edit_, EL_PREP_TERM, 1);  // before the prompt: who sees it may type and the kernel edits nothing any more
    int count = 0;
    const char* text = ::el_gets(edit_, &count);
    if (interrupted_) {
      ::el_reset(edit_);
      return {LineKind::kInterrupted, {}};
    }
    if (text == nullptr || count <= 0) return {LineKind::kEnd, {}};
    InputLine line{LineKind::kLine, std::string(text, static_cast<size_t>(count))};
    while (!line.text.empty() && (line.text.back() == '\n' || line.text.back() == '\r')) line.text.pop_back();
    if (!line.text.empty()) {
      HistEvent event;
      ::history(history_, &event, H_ENTER, line.text.c_str());
    }
    return line;
  }

 private:
  static EditReader& self(EditLine* edit) {
    void* data = nullptr;
    ::el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<EditReader*>(data);
  }
  static char* prompt_text(EditLine* edit) { return self(edit).prompt_.data(); }

  /// libedit's own reader starts over when a signal comes; this one ends the line.
  /// @return 1 and the character, 0 at the end of input, -1 for an error
  static int read_character(EditLine* edit, wchar_t* character) {
    EditReader& reader = self(edit);
    while (true) {
      if (InterruptWatch::take()) {
        reader.interrupted_ = true;
        *character = L'\n';
        return 1;
      }
      if (const auto typed = reader.typed_.take()) {
        *character = static_cast<wchar_t>(*typed);
        return 1;
      }
      pollfd wait{STDIN_FILENO, POLLIN, 0};
      const int ready =
          ::poll(&wait, 1, 100);  // a signal between the look above and the wait costs a tenth of a second
      if (ready < 0 && errno != EINTR) return -1;
      if (ready <= 0) continue;
      char byte = 0;
      const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) return static_cast<int>(got);
      reader.typed_.add(byte);
    }
  }

  EditLine* edit_;
  History* history_;
  std::string prompt_;
  TypedCharacters typed_;
  bool interrupted_ = false;
};

}  // namespace

InterruptWatch::InterruptWatch() {
  g_interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &g_before);  // no SA_RESTART: a read that waits returns
}

InterruptWatch::~InterruptWatch() { ::sigaction(SIGINT, &g_before, nullptr); }

bool InterruptWatch::take() {
  const bool was = g_interrupted != 0;
  g_interrupted = 0;
  return was;
}

std::optional<char32_t> TypedCharacters::take() {
  if (bytes_.empty()) return std::nullopt;
  const auto first = static_cast<unsigned char>(bytes_[0]);
  const size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  size_t size = 1;  // as far as bytes go on the character that the first one begins
  while (size < wanted && size < bytes_.size() && (static_cast<unsigned char>(bytes_[size]) & 0xC0U) == 0x80) ++size;
  if (size < wanted && size == bytes_.size()) return std::nullopt;
  const std::string whole = bytes_.substr(0, size);
  bytes_.erase(0, size);
  return utf8_valid_prefix(whole) == size ? utf8_decode(whole, 0).value : U'?';
}

void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = utf8_decode(text, offset);
    const char32_t c = point.value;
    if (c < 0x20 && c != '\n' && c != '\t') {
      utf8_append(out, 0x2400 + c);
    } else if (c == 0x7F) {
      utf8_append(out, 0x2421);
    } else if (c >= 0x80 && c < 0xA0) {
      utf8_append(out, 0xFFFD);  // C1 controls have no pictures
    } else {
      out.append(text.substr(offset, point.size_bytes));
    }
    offset += point.size_bytes;
  }
  return out;
}

std::unique_ptr<LineReader> make_line_reader() {
  if (::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1) return std::make_unique<EditReader>();
  return std::make_unique<PlainReader>();
}

}  // namespace aqlm_exp::app
