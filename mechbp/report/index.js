"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const control = (id) => document.getElementById(id);
  const [find, verdict, wing, paper] = ["find", "by-verdict", "by-wing", "by-paper"].map(control);
  const found = control("found");
  const fold = (text) => text.toLowerCase().replace(/\s+/g, " ");
  const cards = [...document.querySelectorAll(".card")].map((card) => ({
    card,
    title: fold(card.querySelector("h3").textContent),
    list: card.querySelector(".list"),
    matching: card.querySelector(".matching"),
    dots: [...card.querySelectorAll(".strip a")],
    rows: [...card.querySelectorAll(".list li")].map((row) => ({ row, text: fold(row.textContent), verdict: row.dataset.verdict })),
  }));

  function filter() {
    const words = fold(find.value).trim().split(" ").filter(Boolean);
    const chosen = verdict.value;
    const active = words.length > 0 || chosen !== "";
    let claims = 0;
    let pages = 0;
    for (const { card, title, list, matching, dots, rows } of cards) {
      const here = (!wing || !wing.value || card.dataset.wing === wing.value)
        && (!paper || !paper.value || card.dataset.papers.split("|").includes(paper.value));
      let kept = 0;
      rows.forEach(({ row, text, verdict: own }, index) => {
        const fits = (!chosen || own === chosen) && words.every((word) => text.includes(word) || title.includes(word));
        row.hidden = !fits;
        dots[index].classList.toggle("off", active && !fits);
        kept += fits;
      });
      card.hidden = !here || (active && !kept);
      if (list) {
        list.open = words.length > 0 && kept > 0;
        matching.textContent = active && kept < rows.length ? ", " + kept + " shown" : "";
      }
      if (!card.hidden) { claims += kept; pages += 1; }
    }
    for (const section of document.querySelectorAll(".wing")) section.hidden = !section.querySelector(".card:not([hidden])");
    const narrowed = active || (wing && wing.value) || (paper && paper.value);
    found.value = narrowed ? claims + (claims === 1 ? " claim on " : " claims on ") + pages + (pages === 1 ? " page" : " pages") : "";
  }

  for (const input of [find, verdict, wing, paper]) if (input) input.addEventListener("input", filter);
  filter();
})();
