"""The formats in which networks are exported, and the files that hold them."""

WEIGHTS = "weights.safetensors"
FILES = {"safetensors": WEIGHTS, "torch-export": "model.pt2", "onnx": "model.onnx"}
