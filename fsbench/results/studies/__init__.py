"""What the supports' choice, their annotation and numbers such as K do to scores."""
