// What lm-evaluation-harness does to WikiText's pages before it scores them (lm_eval/tasks/wikitext/
// preprocess_wikitext.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace aqlm_exp::eval {

/// Documents of a text: a WikiText file is cut at its " = Title = " lines, any other text is one document.
std::vector<std::string> split_documents(const std::string& text);
/// The spacing of WikiText undone: " @-@ " becomes "-", " , " becomes ", ", blanks inside brackets and quotes go.
std::string detokenise_wikitext(const std::string& page);
/// Pieces between runs of white space, as Python's len(re.split(r"\s+", text)): the empty ones at the ends count.
int64_t count_words(const std::string& text);

}  // namespace aqlm_exp::eval
