"use strict";
// The one search of all tables. A row fits if it fits every field: a list by its value, words if one of them, between
// commas, is part of the row's, whatever the case.
const pageSearch = {
  parts(text) { return text.toLowerCase().split(",").map((part) => part.trim()).filter(Boolean); },
  finds(text, asked) {
    const parts = pageSearch.parts(asked);
    return !parts.length || parts.some((part) => text.toLowerCase().includes(part));
  },
  fits(row, fields) { // fields have the name of what they ask for in data-state, rows its value under the same name
    return fields.every((field) => {
      const found = row.dataset[field.dataset.state] ?? "", asked = field.value.trim();
      return !asked || (field.tagName === "SELECT" ? found === asked : pageSearch.finds(found, asked));
    });
  },
};
