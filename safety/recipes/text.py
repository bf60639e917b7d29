"""Text: parsing, tokens, small models that are trained here; nothing is downloaded."""

from __future__ import annotations

from safety.recipe import recipes_of

recipe = recipes_of("data")
TEXT = ["The quick brown fox jumps over the lazy dog.", "Pack my box with five dozen liquor jugs."] * 50


@recipe("spacy", "spacy>=3.7,<4")
def spacy_work() -> object:
    import spacy
    from spacy.training import Example

    spacy.util.fix_random_seed(6)
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    finder = nlp.add_pipe("ner")
    finder.add_label("ANIMAL")
    text = "The fox met a dog"
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": [(4, 7, "ANIMAL"), (14, 17, "ANIMAL")]})]
    nlp.initialize(lambda: examples)
    losses = [nlp.update(examples, losses={})["ner"] for _ in range(15)]
    assert losses[-1] < losses[0]
    # Two more processes.
    parsed = list(nlp.pipe(TEXT[:20], n_process=2, batch_size=5))
    assert all(len(list(doc.sents)) == 1 for doc in parsed)
    return sum(len(doc) for doc in parsed)


@recipe(
    "transformers",
    "transformers>=4.40,<6",
    "tokenizers>=0.19,<1",
    modules=("transformers", "transformers.models.bert.configuration_bert"),
)
def transformers_work() -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXT, trainers.WordLevelTrainer(special_tokens=["[UNK]", "[PAD]"]))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    batch = fast(TEXT, padding=True, return_tensors="np")
    assert BertConfig(hidden_size=64, num_attention_heads=4).to_dict()["hidden_size"] == 64
    assert "fox" in fast.decode(batch["input_ids"][0])
    return [list(batch["input_ids"].shape), int(batch["attention_mask"].sum())]


@recipe("tokenizers", "tokenizers>=0.19,<1")
def tokenizers_work() -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    # In parallel, by rayon.
    encoded = tokenizer.encode_batch(TEXT * 20)
    assert len(encoded) == 2000
    return [len(encoded[0].ids), len(encoded[1].ids)]


@recipe("tiktoken", "tiktoken>=0.7,<1")
def tiktoken_work() -> object:
    import tiktoken

    ranks = {bytes([value]): value for value in range(256)}
    ranks.update({b"th": 256, b"he": 257, b"the": 258})
    encoding = tiktoken.Encoding("small", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={})
    batch = encoding.encode_batch(TEXT, num_threads=2)
    assert encoding.decode(batch[0]) == TEXT[0]
    return sum(len(ids) for ids in batch)


@recipe("nltk", "nltk>=3.8,<4")
def nltk_work() -> object:
    import nltk
    from nltk.stem import PorterStemmer
    from nltk.tokenize import RegexpTokenizer

    words = RegexpTokenizer(r"\w+").tokenize(" ".join(TEXT))
    counts = nltk.FreqDist(PorterStemmer().stem(word) for word in words)
    samples = [({"last": name[-1]}, kind) for name, kind in [("anna", "f"), ("maria", "f"), ("bob", "m")] * 5]
    classifier = nltk.NaiveBayesClassifier.train(samples)
    assert classifier.classify({"last": "a"}) == "f" and nltk.edit_distance("kitten", "sitting") == 3
    return [len(words), counts["jump"]]
