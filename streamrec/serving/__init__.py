"""What answers at run time: the bundle, its generators and its scorer. It knows no torch and no Faust."""
