"""A vision-language model with random weights, small enough to be made in a test: LLaVA with 16 units a layer."""

from pathlib import Path

WORDS = "[PAD] [UNK] [EOS] <image> USER: ASSISTANT: yes no a cat dog picture this in there is what".split()
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %} ASSISTANT: {% endfor %}"
)


def save_tiny_model(folder: Path) -> Path:
    """Write a model and its processor to `folder`, as transformers saves them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )  # fmt: skip

    from bdlib.data import _torchvision  # noqa: F401 -- transformers imports torchvision, which needs help first

    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                              image_size=28, patch_size=14, projection_dim=16)  # fmt: skip
    text = LlamaConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                       num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, eos_token_id=2,
                       bos_token_id=1)  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, image_seq_length=4)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]",
                                        additional_special_tokens=["<image>"])  # fmt: skip
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
                   num_additional_image_tokens=1, chat_template=TEMPLATE).save_pretrained(folder)  # fmt: skip
    return folder
