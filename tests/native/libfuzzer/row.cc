// Rows as the log has them: a schema, a key and a value, each behind how many bytes it has (two of them).
#include "native/libfuzzer/target.h"

namespace {

void PutPiece(std::string* out, const std::string& piece) {
  test::Put(out, static_cast<uint16_t>(piece.size()));
  *out += piece;
}

std::string TakePiece(std::string* input) {
  if (input->size() < 2) return "";
  const size_t bytes = std::min<size_t>(test::LoadAt<uint16_t>(*input, 0), input->size() - 2);
  std::string piece = input->substr(2, bytes);
  *input = input->substr(2 + bytes);
  piece.shrink_to_fit();  // a read past the end is one past the buffer
  return piece;
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  test::Random random(1);
  for (int i = 0; i < 200; ++i) {
    const gridflow::Schema schema = test::RandomSchema(&random, 5, 3);
    const test::Cells cells = test::RandomCells(&random, schema);
    std::string seed;
    for (const std::string& piece : {schema.Serialize(), test::KeyOf(schema, cells), test::ValueOf(schema, cells)})
      PutPiece(&seed, piece);
    if (seed.size() < 4096) seeds.push_back(seed);
  }
  return seeds;
}

void Take(std::string input) {
  const std::string bytes = TakePiece(&input), key = TakePiece(&input), value = TakePiece(&input);
  gridflow::Schema schema;
  if (gridflow::Schema::Parse(test::Bytes(bytes), bytes.size(), "file", 0, &schema).ok()) test::UseRow(schema, key, value);
}
