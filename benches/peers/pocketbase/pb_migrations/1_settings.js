// Request logging off: by default PocketBase keeps each request for 5 days in auxiliary.db.
migrate((app) => {
  const settings = app.settings();
  settings.logs.maxDays = 0;
  app.save(settings);
});
