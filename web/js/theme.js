// Sets the theme before the first paint, so that the page never flashes. A classic script for that
// reason: modules run too late.
(() => {
  const kept = () => {
    try {
      return localStorage.getItem("backbeat-theme");
    } catch {
      return null;
    }
  };
  const system = matchMedia("(prefers-color-scheme: light)");
  const apply = () => {
    document.documentElement.dataset.theme = kept() ?? (system.matches ? "light" : "dark");
  };
  apply();
  system.addEventListener("change", () => {
    apply();
    dispatchEvent(new Event("themechange"));
  });

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      button.setAttribute("aria-label", `Switch to the ${other} theme`);
      button.title = `Switch to the ${other} theme`;
      return other;
    };
    label();
    button.addEventListener("click", () => {
      const other = label();
      document.documentElement.dataset.theme = other;
      try {
        localStorage.setItem("backbeat-theme", other);
      } catch {
        // Private browsing: the choice lasts as long as the page.
      }
      label();
      dispatchEvent(new Event("themechange"));
    });
    addEventListener("themechange", label);
  });
})();
