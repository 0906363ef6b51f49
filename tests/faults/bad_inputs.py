"""The table of bad inputs: what is wrong, with which flags it is given, and words of the line it earns.

Files are `bad_files.write_all`'s. The exit status is 2 for all; nothing is trained or left behind.
"""

from bad_files import ARRAY_FAULTS, ENTRIES, ENTRY_FAULTS, FORMATS, GOOD

NPZ = "--dataset=npz:"
FOLDER = "--dataset=folder:"
TEACHER = "--teachers=resnet8@"

DATA = [
    ("a label of 10⁹", f"{NPZ}label.npz", "training labels go up to 1000000000 but none is 3"),
    (
        "a test label of 10⁹",
        f"{NPZ}label_test.npz",
        "test label 1000000000 of image 3 is not among the training labels",
    ),
    ("a label of 2⁶⁴ - 1", f"{NPZ}label_64.npz", "label"),
    ("images as floats", f"{NPZ}floats.npz", "x_train has type float64; images must be uint8"),
    ("labels as truth values", f"{NPZ}bools.npz", "y_train has type bool; labels must be integers"),
    ("labels as strings", f"{NPZ}strings.npz", "y_train has type <U", "labels must be integers"),
    ("labels as objects", f"{NPZ}objects.npz", "cannot be read", "objects.npz"),
    ("no training images", f"{NPZ}none.npz", "there are no training images"),
    ("images without height", f"{NPZ}flat.npz", "x_train has shape (12, 192)"),
    ("images without pixels", f"{NPZ}no_pixels.npz", "x_train has shape (12, 0, 8, 3)"),
    ("an array missing", f"{NPZ}missing.npz", "there is no array 'y_test'"),
    ("an empty file", f"{NPZ}empty.npz", "empty.npz", "cannot be read"),
    ("a text file", f"{NPZ}text.npz", "text.npz", "cannot be read"),
    ("a single array", f"{NPZ}single.npz", "single.npz", "cannot be read"),
    ("a truncated file", f"{NPZ}cut.npz", "cut.npz", "cannot be read"),
    ("a header that claims 60 GB", f"{NPZ}60_gb.npz", "is to hold 57,600,000,000 bytes and holds 100"),
    ("a header with a negative size", f"{NPZ}negative.npz", "negative.npz", "cannot be read"),
    ("a header beyond 64 bits", f"{NPZ}overflow.npz", "is to hold 1,208,925,819,614,629,174,706,176 bytes"),
    ("an encrypted archive", f"{NPZ}encrypted.npz", "encrypted"),
    ("an unknown zip method", f"{NPZ}method.npz", "method"),
    ("a damaged deflated archive", f"{NPZ}deflated.npz", "cannot be read"),
    ("a damaged bzip2 archive", f"{NPZ}bzip2.npz", "cannot be read"),
    ("a damaged lzma archive", f"{NPZ}lzma.npz", "cannot be read"),
    ("an archive of something else", f"{NPZ}no_arrays.npz", "cannot be read"),
    ("a pipe as archive", f"{NPZ}pipe.npz", "not there"),
    ("a folder as archive", f"{NPZ}folder.npz", "the file is a folder"),
    ("no such archive", f"{NPZ}nowhere.npz", "not there"),
    ("a pipe among images", f"{FOLDER}pipe", "spoilt.png' cannot be read (it is no file)"),
    ("an image for Ghostscript", f"{FOLDER}eps", "spoilt.png' is not an image", "Pillow decodes by itself"),
    ("an empty image", f"{FOLDER}nothing", "spoilt.png' is not an image"),
    ("words for an image", f"{FOLDER}words", "spoilt.png' is not an image"),
    ("a folder among images", f"{FOLDER}subfolder", "spoilt.png' cannot be read"),
    ("a link to nowhere", f"{FOLDER}link", "spoilt.png' cannot be read"),
    ("an image of another size", f"{FOLDER}larger", "spoilt.png' is 8x9 pixels", "--image-size=N"),
    ("an image of 16 bits", f"{FOLDER}deep", "more than 8 bits a channel"),
    ("a truncated image", f"{FOLDER}short", "spoilt.png' cannot be read"),
    ("a folder without images", f"{FOLDER}gap", "there is no folder 'gap/test'"),
    ("no such folder", f"{FOLDER}nowhere", "nowhere"),
    ("a path without its kind", "--dataset=good.npz", "did you mean 'npz:good.npz'"),
    ("an unknown data set", "--dataset=cifar1000", "did you mean"),
    ("an empty name", "--dataset=", "data set"),
    ("images of 100,000 pixels", f"{FOLDER}good --image-size=100000", "--image-size=100000", "at most 4096"),
    ("images of no pixels", f"{FOLDER}good --image-size=0", "image-size", "at least 1"),
    ("images of negative size", f"{FOLDER}good --image-size=-3", "image-size", "at least 1"),
    ("a part of a pixel", f"{FOLDER}good --image-size=3.5", "3.5", "int"),
]

WEIGHTS = [
    ("weights as strings", f"{TEACHER}strings_weights.npz", "of another type (layer1.0.conv1.weight <U"),
    ("complex weights", f"{TEACHER}complex_weights.npz", "of another type (layer1.0.conv1.weight complex64"),
    ("weights as integers", f"{TEACHER}integers_weights.npz", "of another type (layer1.0.conv1.weight int8"),
    ("a weight that is no number", f"{TEACHER}nan_weights.npz", "1 of 2,304 values that are not finite"),
    ("weights beyond float32", f"{TEACHER}infinite_weights.npz", "values that are not finite"),
    ("a negative variance", f"{TEACHER}variance_weights.npz", "bn1.running_var has a variance of -0.5"),
    ("a weight of another shape", f"{TEACHER}shape_weights.npz", "1 wrongly shaped (layer1.0.conv1.weight"),
    ("a weight too many", f"{TEACHER}more_weights.npz", "1 unexpected (layer9.weight)"),
    ("other classes", f"{TEACHER}classes_weights.npz", "knows 7 classes, the data set has 10"),
    ("no weights", f"{TEACHER}no_weights.npz", "missing"),
    ("floats of 8 bits", f"{TEACHER}eight.safetensors", "a type that numpy has not"),
    ("a header too large", f"{TEACHER}header.safetensors", "cannot read the state dict"),
    ("text for weights", f"{TEACHER}text.safetensors", "cannot read the state dict"),
    ("an empty checkpoint", f"{TEACHER}weights.pth", "no checkpoint", ".pth, .pt, .safetensors or .npz"),
    ("weights of TensorFlow's", f"{TEACHER}weights.ckpt", "tensorflow.train.load_checkpoint('weights.ckpt')"),
    (
        "a part of TensorFlow's",
        f"{TEACHER}model.ckpt.index",
        "tensorflow.train.load_checkpoint('model.ckpt')",
        "numpy.savez('model.ckpt.npz'",
    ),
    ("weights of Keras's", f"{TEACHER}weights.h5", "h5py.File('weights.h5')", "numpy.savez('weights.npz'"),
    ("a network of Keras's", f"{TEACHER}weights.keras", "keras.saving.load_model('weights.keras')"),
    ("a network of ONNX's", f"{TEACHER}weights.onnx", "onnx.load('weights.onnx')"),
    ("packed weights", f"{TEACHER}weights.tar", "'weights.tar' is packed: unpack it"),
    ("zipped weights", f"{TEACHER}weights.zip", "'weights.zip' is packed: unpack it"),
    ("a percentage as a fraction", f"{TEACHER}good_weights.npz:accuracy=0.7464", "in percent as tables do"),
    ("a percentage beyond all", f"{TEACHER}good_weights.npz:accuracy=101", "in percent as tables do"),
    ("a pipe for weights", f"{TEACHER}pipe.safetensors", "there is no file"),
    ("images for weights", f"{TEACHER}good.npz", "not a state dict of resnet8"),
    ("truncated weights", f"{TEACHER}cut.npz", "cannot read the state dict"),
    ("no such weights", f"{TEACHER}nowhere.npz", "nowhere.npz"),
    ("another network's weights", "--teachers=vgg8@good_weights.npz", "not a state dict of vgg8"),
    ("an empty folder", f"{TEACHER}folder.npz", "not a run's folder"),
]

FLAGS = [
    ("an unknown network", "--student=resnet88", "did you mean 'resnet8'"),
    ("an empty network", "--student=", "--student"),
    ("an unknown teacher", "--teachers=vgg1", "did you mean 'vgg1"),
    ("no teachers", "--teachers=", "no teacher"),
    ("only commas", "--teachers=,,,", "no teacher"),
    ("an unknown flag", "--teecher-dir=x", "did you mean '--teacher-dir'"),
    ("an unknown word", "bomd", "bomd"),
    ("letters for a number", "--epochs=ten", "ten"),
    ("an empty number", "--epochs=", "--epochs"),
    ("no epochs", "--epochs=0", "--epochs=0", "at least 1"),
    ("negative epochs", "--epochs=-1", "--epochs=-1"),
    ("part of an epoch", "--epochs=1.5", "1.5"),
    ("an empty batch", "--batch-size=0", "--batch-size=0"),
    ("a batch beyond the images", "--batch-size=5000", "5000"),
    ("a rate of nothing", "--learning-rate=0", "--learning-rate=0"),
    ("a negative rate", "--learning-rate=-1", "--learning-rate=-1"),
    ("a rate that is no number", "--learning-rate=nan", "nan"),
    ("an infinite rate", "--learning-rate=inf", "inf"),
    ("a momentum of one", "--momentum=1", "below 1"),
    ("a negative momentum", "--momentum=-0.1", "--momentum=-0.1"),
    ("a negative decay", "--weight-decay=-1", "--weight-decay=-1"),
    ("an unknown type", "--dtype=float16", "float16"),
    ("all held out", "--held-out=1", "--held-out=1"),
    ("less than nothing held out", "--held-out=-0.1", "--held-out=-0.1"),
    ("a negative seed", "--seed=-1", "--seed=-1"),
    ("a seed that is no number", "--seed=x", "x"),
    ("a negative teacher's seed", "--teacher-seed=-1", "--teacher-seed=-1"),
    ("no teachers' epochs", "--teacher-epochs=0", "--teacher-epochs=0"),
    ("no steps a call", "--steps-per-call=0", "--steps-per-call=0"),
    ("no checkpoints", "--checkpoint-every=0", "--checkpoint-every=0"),
    ("no images to evaluate", "--eval-batch-size=0", "--eval-batch-size=0"),
    ("a workdir below a file", "--workdir=/dev/null/x", "/dev/null/x"),
    ("a workdir of something else", "--workdir=good", "holds test but no config.json"),
    ("a workdir that is a file", "--workdir=good.npz", "good.npz"),
    ("a name too long", f"--workdir={'x' * 300}", "File name too long"),
]

EACH = [
    *(
        (f"{name}: {fault}", f"{NPZ}{name} {fault}.npz", "npz:", name)
        for name in GOOD
        for fault in ARRAY_FAULTS
    ),
    *(
        (f"{name}: {fault}", f"{TEACHER}{name} {fault}.npz", name)
        for name in ENTRIES
        for fault in ENTRY_FAULTS
    ),
    *((f"half a {form}", f"{FOLDER}{form}", "spoilt.png'") for form in FORMATS),
]
EACH = [(what, flags.replace(" ", "_"), *words) for what, flags, *words in EACH]
