"""The colours of all pictures and pages."""

INK, FADED, FRONT = "#1b2a41", "#b8c0cc", "#c8401f"

# Okabe and Ito's colours, which stay apart for colour-blind eyes; yellow is too light for lines.
APART = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
