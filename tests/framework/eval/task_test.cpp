// Multiple-choice tasks: layouts, scores against plain forward passes, the harness's output.
#include "framework/eval/task.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "framework/base/error.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::eval {
namespace {

using testing::HasSubstr;

class TaskFile : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }
  Task load(const std::string& lines, int64_t limit = 0) {
    std::ofstream(path, std::ios::binary) << lines;
    return load_task(path, "t", limit);
  }
  std::string refusal(const std::string& lines) {
    try {
      load(lines);
    } catch (const DataError& e) {
      EXPECT_FALSE(e.code().empty());
      return e.what();
    }
    return "accepted";
  }
  std::filesystem::path path =
      std::filesystem::path(AQLM_EXP_BINARY_DIR) / ("task-test-" + std::to_string(::getpid()) + ".jsonl");
};

TEST_F(TaskFile, ArcAsksTheQuestionAndFindsTheLabel) {
  const Task task =
      load(R"({"id":"x","question":"Why?","choices":{"text":["a b","c"],"label":["1","2"]},"answerKey":"2"})");
  EXPECT_EQ(task.layout, "arc");
  const Question& q = task.questions.at(0);
  EXPECT_EQ(q.gold, 1);
  EXPECT_EQ(q.choices[0].context, "Question: Why?\nAnswer:");
  EXPECT_EQ(q.choices[0].continuation, " a b");
  EXPECT_EQ(q.choices[0].length, 3);
}

TEST_F(TaskFile, HellaSwagIsCleanedOfItsMarks) {
  const Task task = load(
      R"({"activity_label":"Cooking","ctx_a":"A man stands.","ctx_b":"HE then","endings":[" [title] Eats  it [step] now.","b","c","d"],"label":"3"})"
      "\n");
  EXPECT_EQ(task.layout, "hellaswag");
  const Question& q = task.questions.at(0);
  EXPECT_EQ(q.choices[0].context, "Cooking: A man stands. He then");
  // strip first, so a leading "[title]" is a bracket like any other
  EXPECT_EQ(q.choices[0].continuation, "  Eats it now.");
  EXPECT_EQ(q.gold, 3);
}

TEST_F(TaskFile, PiqaAndPlainAndWinogrande) {
  const Task piqa = load(R"({"goal":"Open it","sol1":"push","sol2":"pull hard","label":1})");
  EXPECT_EQ(piqa.layout, "piqa");
  EXPECT_EQ(piqa.questions[0].choices[1].continuation, " pull hard");
  EXPECT_EQ(piqa.questions[0].gold, 1);
  const Task plain = load(R"({"query":"2+2=","choices":["3","4"],"gold":1})");
  EXPECT_EQ(plain.questions[0].choices[0].context, "2+2=");
  const Task wino =
      load(R"({"sentence":"Ann helped Sue, so _ was glad.","option1":"Ann","option2":"Sue","answer":"2"})");
  EXPECT_EQ(wino.layout, "winogrande");
  EXPECT_FALSE(wino.has_acc_norm());
  EXPECT_EQ(wino.questions[0].gold, 1);
  EXPECT_EQ(wino.questions[0].choices[1].context, "Ann helped Sue, so Sue");
  EXPECT_EQ(wino.questions[0].choices[1].continuation, " was glad.");
}

TEST_F(TaskFile, TheHarnessesOwnLogsAreATaskToo) {
  const Task task = load(
      R"({"doc_id":0,"doc":{"q":1},"target":"1","arguments":{"gen_args_0":{"arg_0":"A","arg_1":" b"},"gen_args_1":{"arg_0":"A","arg_1":" cc"}}})"
      "\n"
      R"({"doc_id":1,"doc":{"q":2},"target":0,"arguments":[["A"," b"],["A"," d"]]})");
  EXPECT_EQ(task.layout, "harness");
  EXPECT_EQ(task.questions.size(), 2u);
  EXPECT_EQ(task.questions[0].gold, 1);
  EXPECT_EQ(task.questions[0].choices[1].length, 2);
  EXPECT_EQ(task.questions[1].doc.at("q"), 2);
}

TEST_F(TaskFile, LimitTakesTheFirstQuestions) {
  const std::string line = R"({"query":"q","choices":["a","b"],"gold":0})";
  EXPECT_EQ(load(line + "\n\n" + line + "\n" + line + "\n", 2).questions.size(), 2u);
}

TEST_F(TaskFile, MistakesAreNamedWithTheirLine) {
  const std::string good = R"({"query":"q","choices":["a","b"],"gold":0})";
  EXPECT_THAT(refusal(good + "\n{oops}\n"), HasSubstr(":2: need one JSON object a line"));
  EXPECT_THAT(refusal(R"({"foo":1})"), HasSubstr("unknown layout"));
  EXPECT_THAT(refusal(good + "\n" + R"({"goal":"g","sol1":"a","sol2":"b","label":0})"), HasSubstr("layout piqa"));
  EXPECT_THAT(refusal(R"({"goal":"g","sol1":"a","sol2":"b","label":-1})"), HasSubstr("label"));
  EXPECT_THAT(refusal(R"({"goal":"g","sol1":"a","sol2":"b","label":2})"), HasSubstr("got 2, need 0 to 1"));
  EXPECT_THAT(refusal(R"({"ctx_a":"a","ctx_b":"b","activity_label":"c","endings":["x"],"label":""})"),
              HasSubstr("test split"));
  EXPECT_THAT(refusal(R"({"goal":"g","sol1":5,"sol2":"b","label":0})"), HasSubstr("sol1: got number"));
  EXPECT_THAT(refusal(R"({"question":"q","choices":{"text":["a"],"label":["A"]},"answerKey":"Z"})"),
              HasSubstr("\"Z\""));
  EXPECT_THAT(refusal(R"({"query":"q","choices":["a",""],"gold":0})"), HasSubstr("empty"));
  EXPECT_THAT(refusal("\n\n"), HasSubstr("no question"));
}

class Scoring : public TaskFile {
 protected:
  text::Tokenizer tokenizer = text::Tokenizer::load(test::embedded_model());
  model::Model model = model::load_model(test::embedded_model(), at::kCPU);
};

TEST_F(Scoring, BlanksAtTheContextsEndMoveToTheContinuation) {
  const EncodedChoice moved = encode_choice(tokenizer, {"He said ", "yes", 3}, {});
  const EncodedChoice plain = encode_choice(tokenizer, {"He said", " yes", 3}, {});
  EXPECT_EQ(moved.ids, plain.ids);
  EXPECT_EQ(moved.num_scored, plain.num_scored);
}

TEST_F(Scoring, AnEmptyContextIsThePrefix) {
  const EncodedChoice encoded = encode_choice(tokenizer, {"", "Yes", 3}, {.prefix = 7});
  EXPECT_EQ(encoded.ids.front(), 7);
  EXPECT_EQ(encoded.num_scored, static_cast<int64_t>(encoded.ids.size()) - 1);
}

TEST_F(Scoring, LongInputsLoseTheirBeginning) {
  std::string context;
  for (int i = 0; i < 50; ++i) context += "word and ";
  const EncodedChoice encoded = encode_choice(tokenizer, {context, "then", 4}, {.max_length = 10});
  EXPECT_EQ(encoded.ids.size(), 11u);
  EXPECT_GT(encoded.num_scored, 0);
}

TEST_F(Scoring, MatchesOneForwardPassAChoice) {
  const c10::NoGradGuard no_grad;
  const Task task =
      load(R"({"query":"The old man went to","choices":["the sea","bed early that night","xqz"],"gold":0})"
           "\n"
           R"({"query":"She opened the","choices":["door","letter"],"gold":0})"
           "\n"
           R"({"query":"It was","choices":["a dark night","not"],"gold":1})"
           "\n");
  const TaskResult batched = run_task(model, tokenizer, task, {.batch_tokens = 64});
  std::vector<double> correct;
  for (size_t q = 0; q < task.questions.size(); ++q) {
    std::vector<double> plain;
    for (size_t c = 0; c < task.questions[q].choices.size(); ++c) {
      const EncodedChoice encoded = encode_choice(tokenizer, task.questions[q].choices[c], {});
      const std::vector<int64_t> ids(encoded.ids.begin(), encoded.ids.end());
      const at::Tensor log_p =
          at::log_softmax(model.forward(at::tensor(ids, at::kLong).unsqueeze(0)).squeeze(0).to(at::kDouble), -1);
      double sum = 0;
      bool greedy = true;
      for (auto at = static_cast<int64_t>(ids.size()) - encoded.num_scored; at < static_cast<int64_t>(ids.size());
           ++at) {
        sum += log_p[at - 1][ids[static_cast<size_t>(at)]].item<double>();
        greedy = greedy && log_p[at - 1].argmax().item<int64_t>() == ids[static_cast<size_t>(at)];
      }
      EXPECT_NEAR(batched.answers[q].log_likelihoods[c], sum, 1e-3) << q << " " << c;
      EXPECT_EQ(batched.answers[q].is_greedy[c], greedy);
      plain.push_back(sum);
    }
    correct.push_back(std::max_element(plain.begin(), plain.end()) - plain.begin() == task.questions[q].gold ? 1 : 0);
  }
  EXPECT_EQ(batched.correct, correct);
  const double acc = (correct[0] + correct[1] + correct[2]) / 3;
  EXPECT_NEAR(batched.acc, acc, 1e-12);
  EXPECT_NEAR(batched.acc_stderr, std::sqrt(acc * (1 - acc) / 2), 1e-12);  // sample deviation over √n
  const TaskResult one_by_one = run_task(model, tokenizer, task, {.batch_tokens = 1});
  EXPECT_NEAR(one_by_one.answers[1].log_likelihoods[1], batched.answers[1].log_likelihoods[1], 1e-3);
}

TEST_F(Scoring, LengthNormalisationDividesByCharacters) {
  const Task task = load(R"({"query":"The","choices":["man was there in the morning","xqzxqz"],"gold":0})");
  const TaskResult result = run_task(model, tokenizer, task, {});
  const Answer& answer = result.answers[0];
  const double a = answer.log_likelihoods[0] / 28, b = answer.log_likelihoods[1] / 6;
  EXPECT_EQ(answer.chosen_per_character, a >= b ? 0 : 1);
  EXPECT_EQ(answer.chosen, answer.log_likelihoods[0] >= answer.log_likelihoods[1] ? 0 : 1);
  EXPECT_EQ(task.questions[0].choices[0].length, 28);
}

TEST_F(Scoring, OutputIsTheHarnesss) {
  const Task task = load(R"({"query":"The old man","choices":["went","sat"],"gold":0})"
                         "\n"
                         R"({"query":"A","choices":["b","c"],"gold":1})");
  const TaskResult result = run_task(model, tokenizer, task, {});
  const auto json = harness_results({task}, {result}, "folder");
  EXPECT_EQ(json.at("results").at("t").at("acc,none").get<double>(), result.acc);
  EXPECT_EQ(json.at("results").at("t").at("acc_norm_stderr,none").get<double>(), result.acc_norm_stderr);
  EXPECT_EQ(json.at("n-samples").at("t").at("effective"), 2);
  EXPECT_EQ(json.at("higher_is_better").at("t").at("acc_norm"), true);
  // A samples log scores itself again to the same numbers.
  const Task again = load(harness_samples(task, result));
  EXPECT_EQ(again.layout, "harness");
  const TaskResult second = run_task(model, tokenizer, again, {});
  EXPECT_EQ(second.answers[0].log_likelihoods, result.answers[0].log_likelihoods);
  EXPECT_EQ(second.correct, result.correct);
  EXPECT_EQ(second.correct_norm, result.correct_norm);
}

}  // namespace
}  // namespace aqlm_exp::eval
